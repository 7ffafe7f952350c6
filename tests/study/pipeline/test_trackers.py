"""Trackers that follow a search while it runs, each in a thread of its own."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_run import MadeTrial, made_run
from optuna.distributions import FloatDistribution

import results
from results import loggers
from results.loggers import LoggerError, check_logger
from results.run_directory import read_events
from study.pipeline.trackers import Trackers


@pytest.fixture
def run(tmp_path: Path) -> results.Run:
    return made_run(tmp_path / "made", [MadeTrial({"lr": 0.1}, [0.5, 0.6])], {"lr": FloatDistribution(0.0, 1.0)})


class Written:
    """A tracker that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[str] = set()

    def note(self, what: str) -> None:
        self.asked.append(what)
        self.threads.add(threading.current_thread().name)

    def start_trial(self, event: Any) -> None:
        self.note("start")

    def log_epoch(self, event: Any) -> None:
        self.note(f"epoch {event.epoch}")

    def end_trial(self, event: Any) -> None:
        self.note(event.status)

    def finish(self, summary: Mapping[str, Any], *more: Any) -> None:
        self.note(f"finish {summary['status']}")

    def close(self) -> None:
        self.note("close")


class Hanging(Written):
    """A tracker whose server never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = threading.Event()

    def log_epoch(self, event: Any) -> None:
        self.answered.wait(30)


class Full(Written):
    def log_epoch(self, event: Any) -> None:
        raise OSError(28, "No space left on device")


def followed(run: results.Run, patience: float = 30.0, **trackers: Any) -> list[str]:
    """What is said of trackers that have followed the run."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        for name, tracker in trackers.items():
            patched.setitem(loggers.LOGGERS, name, lambda run_dir, study, tracker=tracker: tracker)
        following = Trackers(list(trackers), run.path, run.study, said.append)
        for event in read_events(run):
            following.apply(event)
        following.finish(run, patience)
    return said


def test_a_tracker_gets_every_event_in_order_in_a_thread_of_its_own(run: results.Run) -> None:
    tracker = Written()
    assert followed(run, written=tracker) == []
    assert tracker.asked == ["start", "epoch 1", "epoch 2", "completed", "finish finished", "close"]
    assert tracker.threads == {"tracker-written"}


def test_a_tracker_that_fails_is_one_warning_and_the_others_get_everything(run: results.Run) -> None:
    tracker = Written()
    [said] = followed(run, full=Full(), written=tracker)
    assert "full failed" in said
    assert "No space left on device" in said
    assert "python -m results log RUN --to full" in said
    assert tracker.asked[-1] == "close"


def test_a_tracker_whose_server_hangs_keeps_nobody_waiting(run: results.Run) -> None:
    hanging = Hanging()
    [said] = followed(run, patience=0.2, hanging=hanging)
    hanging.answered.set()
    assert said == f"hanging does not answer; afterwards, python -m results log {run.path} --to hanging logs all"


def test_a_tracker_that_cannot_begin_is_one_warning(run: results.Run) -> None:
    def broken(run_dir: Path, study: Mapping[str, Any]) -> Written:
        raise PermissionError(13, "Permission denied")

    said: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(loggers.LOGGERS, "broken", broken)
        Trackers(["broken"], run.path, run.study, said.append).finish(run)
    assert said == ["broken cannot be used: PermissionError: [Errno 13] Permission denied"]


def test_what_is_no_tracker_or_not_installed_is_said_before_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoggerError, match="there is no logger 'comet'; allowed: tensorboard, mlflow, wandb"):
        check_logger("comet")
    monkeypatch.setitem(loggers.LIBRARIES, "wandb", "a_library_that_is_not_installed")
    with pytest.raises(LoggerError, match="wandb is not installed; pip install"):
        check_logger("wandb")
