"""`--log-to` during a study, read back from real event files, a real MLflow server and wandb's offline files; and
`--storage-url`. One study, begun and then extended, serves all tests."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from offline_wandb import history
from other_warnings import other_peoples_warnings
from stored_study import stored_trials

import results
from benchmarks.chaos import one_thread

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.network]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/kept"]
    with (folder / "log").open("w") as log:
        # Without it the server starts ten processes for jobs that no tracker needs.
        light = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        server = subprocess.Popen(command, cwd=folder, env=light, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        assert server.poll() is None, (folder / "log").read_text()
        try:
            urlopen(f"{url}/health", timeout=5).close()
            break
        except OSError:
            time.sleep(0.2)
    yield url
    server.terminate()
    server.wait(60)


def study(server: str, *command: str) -> str:
    """What a study says; it is to end with 0."""
    environment = {**one_thread(), "MLFLOW_TRACKING_URI": server}
    environment.pop("WANDB_MODE", None)
    done = subprocess.run(
        [sys.executable, "-m", "study.run", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def logged(
    mlflow_server: str, synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[results.Run, str, str]:
    """A run that was extended, what its two sessions said, and the server's URL."""
    folder = tmp_path_factory.mktemp("logged")
    data = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(folder), "--name", "one"]
    size = ["--space", "sgd", "--max-epochs", "2", "--final-epochs", "1", "--gpus-per-trial", "0"]
    trackers = [part for name in ("tensorboard", "mlflow", "wandb") for part in ("--log-to", name)]
    team = ["--storage-url", f"sqlite:///{folder / 'team.db'}"]
    said = study(mlflow_server, *data, *size, *trackers, *team, "--samples", "2")
    said += study(mlflow_server, "--resume", str(folder / "one"), "--samples", "4")
    return results.load_run(folder / "one"), said, mlflow_server


def epochs_of(run: results.Run, number: int) -> list[float]:
    return list(run.epochs[run.epochs["number"] == number]["val_accuracy"])


def test_a_study_with_trackers_ends_without_a_warning(logged: tuple[results.Run, str, str]) -> None:
    run, said, _ = logged
    assert run.study["arguments"]["log_to"] == ["tensorboard", "mlflow", "wandb"]
    assert "warning" not in said.lower()
    assert "INFO" not in said
    assert "View run" not in said  # MLflow would print two lines a trial


def test_tensorboard_has_each_epoch_of_both_sessions_once(logged: tuple[results.Run, str, str]) -> None:
    run, _, _ = logged
    with other_peoples_warnings():
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        for number in run.trials.index:
            events = EventAccumulator(str(run.path / f"logs/tensorboard/trial_{number:05d}")).Reload()
            scalars = events.Scalars("val_accuracy")
            assert [each.step for each in scalars] == list(range(1, len(scalars) + 1))
            assert [each.value for each in scalars] == pytest.approx(epochs_of(run, number))
        [winner] = EventAccumulator(str(run.path / "logs/tensorboard/study")).Reload().Scalars("test_accuracy/winner")
    assert run.final is not None
    assert winner.value == pytest.approx(run.final["winner"]["accuracy"])


def test_the_mlflow_server_has_a_run_a_trial_with_each_epoch_once_and_the_verdict(
    logged: tuple[results.Run, str, str],
) -> None:
    run, _, server = logged
    with other_peoples_warnings():
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=server)
        [experiment] = [each for each in client.search_experiments() if each.name.startswith("one ")]
        found = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
        assert set(found) == {"study", *run.trials["trial_id"]}
        for number, name in run.trials["trial_id"].items():
            measured = client.get_metric_history(found[name].info.run_id, "val_accuracy")
            assert [each.value for each in measured] == epochs_of(run, int(str(number)))
        artifacts = {each.path for each in client.list_artifacts(found["study"].info.run_id)}
    assert found["study"].data.tags["verdict"] == run.verdict
    assert {"report.html", "study.json", "metrics.json", "model.pt"} <= artifacts


def test_wandb_has_offline_files_of_each_trial_once(logged: tuple[results.Run, str, str]) -> None:
    run, _, _ = logged
    folders = {folder.name.rpartition("-")[2]: folder for folder in (run.path / "logs/wandb").glob("offline-run-*")}
    assert set(folders) == {"study", *run.trials["trial_id"]}
    for number, name in run.trials["trial_id"].items():
        assert [row["val_accuracy"] for row in history(folders[name])] == epochs_of(run, int(str(number)))


def test_the_team_database_has_the_study_under_the_runs_name_with_all_trials_once(
    logged: tuple[results.Run, str, str],
) -> None:
    run, _, _ = logged
    stored = stored_trials(run.path.parent / "team.db", "one")
    assert [trial.number for trial in stored] == run.trials.index.tolist()
    for trial in stored:
        assert list(trial.intermediate_values.values()) == epochs_of(run, trial.number)
    assert "WANDB_MODE" not in os.environ


def test_the_estimate_is_recorded(logged: tuple[results.Run, str, str]) -> None:
    run, said, _ = logged
    assert set(run.study["estimate"]) == {"search", "final"}
    assert all(0 < low <= high for low, high in run.study["estimate"].values())
    assert said.count("\nTime:   ") == 2
