"""Optuna's study in databases of other people: a real PostgreSQL, and what the real optuna-dashboard shows of it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import optuna
import pytest
from optuna.trial import TrialState
from stored_study import stored_trials

from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialStarted
from results.optuna_storage import opened
from search_spaces import load
from study.errors import UsageError
from study.recipe import BASELINE
from study.search.optuna_study import OptunaDatabase, OptunaStudy, check_database
from study.search.problem import SearchProblem

PROBLEM = SearchProblem(load("cnn-wide"), "cnn-wide", BASELINE, max_epochs=2, seed=5)
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL that runs here."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs and shutil.which("initdb") is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    binaries = programs[-1].parent if programs else Path(str(shutil.which("initdb"))).parent
    # It refuses to run as root, and its folder must be reachable for its user.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    if user:
        shutil.chown(folder, user)
    port, data = free_port(), folder / "data"
    quiet: dict[str, Any] = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
    subprocess.run([binaries / "initdb", "-D", data, "-U", "me", "-A", "trust"], check=True, **quiet)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run([binaries / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start"], **quiet)
    yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder)


def trial(number: int, accuracies: list[float]) -> list[Event]:
    return [
        EpochFinished(number=number, epoch=at, metrics={"val_accuracy": each}, seconds=1.0, time_total_s=float(at))
        for at, each in enumerate(accuracies, 1)
    ]


def record(study: OptunaStudy, *databases: OptunaDatabase) -> None:
    """Four trials: completed, stopped, diverged and paused."""
    lives: list[tuple[list[float], Any]] = [
        ([0.4, 0.6], TrialEnded(number=0, status="completed", reason=None)),
        ([0.3], TrialEnded(number=1, status="stopped", reason="rung 1")),
        ([], TrialEnded(number=2, status="diverged", reason="loss is nan")),
        ([0.2], TrialPaused(number=3)),
    ]
    for number, (accuracies, last) in enumerate(lives):
        suggestion = study.ask()
        assert suggestion is not None
        for event in [suggestion.started(), *trial(number, accuracies), last]:
            study.apply(event)
            for database in databases:
                database.apply(event)
    assert isinstance(suggestion.started(), TrialStarted)


def test_a_database_of_ones_own_gets_the_study_beside_the_others(postgresql: str) -> None:
    check_database(postgresql, "mine")
    with opened(postgresql) as storage:
        others = optuna.create_study(study_name="somebody else's", storage=storage)
        others.add_trial(optuna.trial.create_trial(value=1.0))
    study = OptunaStudy(PROBLEM, name="mine")
    with OptunaDatabase(postgresql, PROBLEM, study, "run 1") as database:
        record(study, database)
    assert database.failure is None
    trials = stored_trials(postgresql, "mine")
    assert [each.state for each in trials] == STATES
    assert trials[0].intermediate_values == {1: 0.4, 2: 0.6}
    assert trials[1].user_attrs == {"stop_reason": "rung 1", "seconds": 1.0}
    assert len(stored_trials(postgresql, "somebody else's")) == 1

    # A resumed run writes its study again, with nothing twice; another run of this name is left alone.
    with OptunaDatabase(postgresql, PROBLEM, study, "run 1") as resumed:
        pass
    assert resumed.failure is None
    assert len(stored_trials(postgresql, "mine")) == 4
    with OptunaDatabase(postgresql, PROBLEM, OptunaStudy(PROBLEM, name="mine"), "run 2") as stranger:
        pass
    assert stranger.failure == "--storage-url has a study mine of another run"
    assert len(stored_trials(postgresql, "mine")) == 4
    with pytest.raises(UsageError, match="has a study mine already; give another --name"):
        check_database(postgresql, "mine")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://me@127.0.0.1:1/none", "cannot be used"),
        ("nothing://here", "cannot be used"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_before_the_study(url: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        check_database(url, "mine")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_real_dashboard_shows_each_trial_with_its_state_its_epochs_and_names(tmp_path: Path) -> None:
    file, port = tmp_path / "optuna.db", free_port()
    study = OptunaStudy(PROBLEM, name="sgd-7")
    with OptunaDatabase(file, PROBLEM, study) as database:
        record(study, database)
    command = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", f"sqlite:///{file}"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log)
    try:
        [summary] = asked(port, "/api/studies", server, tmp_path / "log")["study_summaries"]
        shown = asked(port, f"/api/studies/{summary['study_id']}", server, tmp_path / "log")
    finally:
        server.terminate()
        server.wait(30)
    assert summary["study_name"] == "sgd-7"
    assert shown["objective_names"] == ["val_accuracy"]
    assert [each["state"] for each in shown["trials"]] == ["Complete", "Pruned", "Fail", "Running"]
    assert [each["value"] for each in shown["trials"][0]["intermediate_values"]] == [0.4, 0.6]
    attributes = [{each["key"]: each["value"] for each in t["user_attrs"]} for t in shown["trials"]]
    assert attributes[1] == {"stop_reason": "rung 1", "seconds": "1.0"}
    assert attributes[3] == {"paused": "True"}


def asked(port: int, path: str, server: "subprocess.Popen[bytes]", log: Path) -> Any:
    """What the server answers, once it does."""
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return json.loads(answer.read())
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())
