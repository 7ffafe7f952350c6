"""A study over Ray Client: a real Ray with its server of Ray Client, and this process outside of it."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import psutil
import pytest
from driver import events, wait_until

import results
from benchmarks.chaos import one_thread, without_times
from study import baseline, run

SPACE = """
def space(trial):
    return {"lr": trial.suggest_float("lr", 1e-3, 0.1, log=True)}
"""


# In a process of its own, as Ray leaves the server's logs open in the one that starts it.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
head = {"num_cpus": 2, "include_dashboard": False, "ray_client_server_port": int(sys.argv[1])}
cluster = Cluster(initialize_head=True, head_node_args=head)
print("up", flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdout is not None
        assert cluster.stdout.readline() == "up\n"
        yield f"ray://127.0.0.1:{port}"
        cluster.communicate("")


def command(data: Path, runs: Path, *more: str) -> list[str]:
    common = ["--dataset", "synthetic", "--data-dir", str(data), "--runs-dir", str(runs), "--name", "one"]
    short = ["--final-epochs", "1", "--max-epochs", "2", "--cpus-per-trial", "1", "--gpus-per-trial", "0"]
    return [*common, *short, "--max-concurrent", "1", *more]


def started(asked: list[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "study.run", *asked],
        env={**one_thread(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def drivers() -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cmdline"]) if "study.remote" in (each.info["cmdline"] or [])]


def test_a_study_over_ray_client_says_and_leaves_here_what_one_at_home_does(
    address: str, synthetic_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    (tmp_path / "mine.json").write_text(json.dumps({"batch_size": 64}))
    files = ["--space", f"{tmp_path / 'mine.py'}:space", "--recipe", str(tmp_path / "mine.json"), "--samples", "2"]
    at_home = started(command(synthetic_dir, tmp_path / "home", *files))
    over = ["--address", address, "--storage-path", str(tmp_path / "shared")]
    far = started(command(synthetic_dir, tmp_path / "runs", *files, *over))
    said, complaints = far.communicate()
    assert far.returncode == 0, complaints
    said_at_home, complaints = at_home.communicate()
    assert at_home.returncode == 0, complaints

    home, here = results.load_run(tmp_path / "home" / "one"), results.load_run(tmp_path / "runs" / "one")
    pd.testing.assert_frame_equal(without_times(here.trials), without_times(home.trials))
    assert here.final is not None
    assert home.final is not None
    assert here.final["winner"]["seeds"] == home.final["winner"]["seeds"]
    assert f"Files: {tmp_path / 'runs' / 'one'}" in said
    assert f"from space {tmp_path / 'mine.py'}:space" in said
    assert said.count("\n") == said_at_home.count("\n")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]
    assert here.study["arguments"]["address"] == address
    assert here.study["arguments"]["space"] == f"{tmp_path / 'mine.py'}:space"
    assert here.study["command"][-len(files + over) :] == files + over
    assert drivers() == []


def test_one_stopped_over_ray_client_is_readable_here_and_goes_on_there(
    address: str, synthetic_dir: Path, tmp_path: Path
) -> None:
    slow = ["--samples", "60", "--space", "sgd", "--address", address, "--storage-path", str(tmp_path / "shared")]
    stopped = started(command(synthetic_dir, tmp_path / "runs", *slow))
    copy = tmp_path / "shared" / "one" / "epochs.jsonl"
    wait_until(lambda: events(copy), stopped)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert f"go on with: python -m study.run --resume {tmp_path / 'runs' / 'one'}" in said
    assert drivers() == []
    before = results.load_run(tmp_path / "runs" / "one")
    assert before.study["status"] == "stopped"

    begun = len(before.trials)
    again = started(["--resume", str(tmp_path / "runs" / "one"), "--samples", str(begun), "--quiet"])
    words, said = again.communicate()
    assert again.returncode == 0, said
    assert "published" not in words
    finished = results.load_run(tmp_path / "runs" / "one")
    assert finished.study["status"] == "finished"
    assert len(finished.trials) == begun
    assert finished.final is not None
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["one"]


def test_where_this_end_is_killed_the_driver_in_the_cluster_ends_and_its_copy_can_be_resumed(
    address: str, synthetic_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    asked = ["--space", f"{tmp_path / 'mine.py'}:space", "--samples", "200", "--storage-path", str(tmp_path / "shared")]
    killed = started(
        command(synthetic_dir, tmp_path / "runs", *asked, "--address", address), RAY_CLIENT_RECONNECT_GRACE_PERIOD="1"
    )
    copy = tmp_path / "shared" / "one"
    wait_until(lambda: len(events(copy / "epochs.jsonl")) > 6, killed)  # so that two trials have begun
    assert len(drivers()) == 1
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    psutil.wait_procs(drivers(), timeout=60)
    assert drivers() == []
    assert list((tmp_path / "runs").iterdir()) == []

    # What only the driver there can refuse is said here in its words; the copy comes here all the same.
    begun = len(results.load_run(copy).trials)
    again = ["--resume", str(copy), "--address", address, "--runs-dir", str(tmp_path / "runs"), "--samples"]
    refused = started([*again, "1"])
    _, said = refused.communicate()
    assert refused.returncode == 2
    assert said == f"study.run: --samples is 1; allowed: at least the {begun} trials begun\n"
    here = results.load_run(tmp_path / "runs" / "one")
    assert len(here.trials) == begun
    assert Path(here.study["arguments"]["space"].removesuffix(":space")).read_text() == SPACE
    assert json.loads((tmp_path / "runs" / "one" / "study.json").read_text())["arguments"]["address"] == address


@pytest.mark.parametrize("program", [run, baseline])
def test_without_a_store_that_brings_the_run_back_it_is_refused(
    program: ModuleType, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        program.main(["--address", address, "--runs-dir", str(tmp_path)])
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.count("\n") == 1
    assert "--storage-path" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [run, baseline])
def test_an_address_without_ray_client_is_refused_at_once(
    program: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        program.main(["--address", "ray://127.0.0.1:1", "--runs-dir", str(tmp_path), "--storage-path", str(tmp_path)])
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.count("\n") == 1
    assert "ray://127.0.0.1:1: no Ray answers there (Connection refused)" in said
    assert list(tmp_path.iterdir()) == []


def test_where_ray_client_is_not_installed_the_way_to_install_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(SystemExit) as exit_:
        run.main(["--address", "ray://127.0.0.1:1", "--runs-dir", str(tmp_path), "--storage-path", str(tmp_path)])
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.count("\n") == 1
    assert 'pip install "ray[client]"' in said
