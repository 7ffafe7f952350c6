"""A study in other people's trackers, read back with their own libraries from real files and a real store."""

import sys
import warnings
from pathlib import Path

import pytest
from made_run import MadeTrial, made_final, made_run
from offline_wandb import history
from optuna.distributions import FloatDistribution
from other_warnings import other_peoples_warnings

import results
from results.__main__ import main
from results.events import EpochFinished
from results.loggers import LOGGERS, Logger, LoggerError, open_logger
from results.run_directory import read_events

TRIALS = [
    MadeTrial({"lr": 0.1}, [0.5, 0.6, 0.7]),
    MadeTrial({"lr": 0.9}, [0.2], "stopped", "rung 1"),
    MadeTrial({"lr": 9.0}, [], "diverged", "loss nan"),
]


@pytest.fixture
def run(tmp_path: Path) -> results.Run:
    made = made_run(tmp_path / "made", TRIALS, {"lr": FloatDistribution(0.0, 10.0)}, final=made_final())
    (made.path / "report.html").write_text("<p>report</p>")
    return results.load_run(made.path)


def log(run: results.Run, name: str) -> None:
    with other_peoples_warnings():
        assert main(["log", str(run.path), "--to", name]) == 0


def test_tensorboard_has_a_folder_a_trial_with_each_epoch_once(run: results.Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        log(run, "tensorboard")
    read = EventAccumulator(str(run.path / "logs/tensorboard/trial_00000")).Reload()
    scalars = read.Scalars("val_accuracy")
    assert [(each.step, round(each.value, 3)) for each in scalars] == [(1, 0.5), (2, 0.6), (3, 0.7)]
    assert [each.wall_time for each in scalars] == run.epochs["time"].tolist()[:3]
    study = EventAccumulator(str(run.path / "logs/tensorboard/study")).Reload()
    [winner] = study.Scalars("test_accuracy/winner")
    assert winner.value == pytest.approx(0.82)


@pytest.mark.slow
def test_mlflow_has_a_run_a_trial_under_the_studys_and_logging_again_doubles_nothing(run: results.Run) -> None:
    for _ in range(2):
        log(run, "mlflow")
    with other_peoples_warnings():
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{run.path / 'logs/mlflow.db'}")
        [experiment] = [each for each in client.search_experiments() if each.name.startswith("made ")]
        found = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
        assert set(found) == {"study", "trial_00000", "trial_00001", "trial_00002"}
        first, study = found["trial_00000"], found["study"]
        history = client.get_metric_history(first.info.run_id, "val_accuracy")
        artifacts = {each.path for each in client.list_artifacts(study.info.run_id)}
    assert [(each.step, each.value) for each in history] == [(1, 0.5), (2, 0.6), (3, 0.7)]
    assert first.data.params["lr"] == "0.1"
    assert first.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert found["trial_00002"].info.status == "FAILED"
    assert found["trial_00002"].data.tags["stop_reason"] == "loss nan"
    assert study.data.tags["verdict"] == "no evidence"
    assert study.data.metrics["test_accuracy/winner"] == 0.82
    assert {"report.html", "study.json", "metrics.json"} <= artifacts


@pytest.mark.slow
def test_wandb_writes_offline_files_one_run_a_trial(run: results.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for _ in range(2):
        log(run, "wandb")
    folders = sorted((run.path / "logs/wandb").glob("offline-run-*"))
    assert len(folders) == 4
    [of_trial] = [folder for folder in folders if folder.name.endswith("trial_00000")]
    assert [row["val_accuracy"] for row in history(of_trial)] == [0.5, 0.6, 0.7]


class Broken:
    """A tracker whose disk is full from the first epoch on."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def start_trial(self, event: object) -> None:
        self.asked.append("start")

    def log_epoch(self, event: object) -> None:
        self.asked.append("epoch")
        raise OSError(28, "No space left on device")

    def end_trial(self, event: object) -> None:
        self.asked.append("end")

    def finish(self, *about: object) -> None:
        self.asked.append("finish")

    def close(self) -> None:
        self.asked.append("close")


def test_a_tracker_that_fails_is_one_warning_and_never_asked_again(run: results.Run) -> None:
    broken = Broken()
    logger = Logger("broken", broken)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for event in read_events(run):
            logger.apply(event)
        logger.finish(run)
    [warning] = said
    assert "broken failed and gets nothing more of this study: OSError: [Errno 28]" in str(warning.message)
    assert broken.asked == ["start", "epoch", "close"]


def test_the_events_of_a_run_are_read_in_order_without_its_damaged_lines(run: results.Run) -> None:
    log = run.path / "epochs.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:2], "{", *lines[2:]]) + "\n")
    events = read_events(run)
    assert len(events) == len(lines)
    assert [each.epoch for each in events if isinstance(each, EpochFinished)] == [1, 2, 3, 1]


def test_an_unknown_tracker_is_refused_with_those_that_there_are(
    run: results.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", str(run.path), "--to", "comet"]) == 2
    assert f"there is no logger 'comet'; allowed: {', '.join(LOGGERS)}" in capsys.readouterr().err


def test_a_tracker_that_is_not_installed_is_named(run: results.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [each for each in sys.modules if each.startswith(("tensorboard.", "results.loggers.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(LoggerError, match=r"tensorboard is not installed.*pip install tensorboard"):
        open_logger("tensorboard", run.path, run.study)
