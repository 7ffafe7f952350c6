"""A study in the trackers that a team already has: TensorBoard, MLflow, Weights & Biases.

    python -m results log runs/my-study --to tensorboard

    logger = open_logger("mlflow", run_dir, study)     # a live study: before its first event
    for event in events: logger.apply(event)           # the earlier ones too, when it is resumed
    logger.finish(results.load_run(run_dir))

Each tracker gets one run per trial, with its parameters, its metrics by epoch and how it ended; and one run for the
study, with the verdict and the report and model as artifacts. Everything is local unless the tracker's own environment
variables say otherwise (MLFLOW_TRACKING_URI, WANDB_MODE). Logging a study again replaces or completes what is there.

A tracker is a view: whatever goes wrong in it is one warning, and the study is not harmed.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from results.events import EpochFinished, Event, TrialEnded, TrialStarted
from results.formatting import on_one_line
from results.loggers.tracker import LoggerError, Tracker
from results.run import Run


def _tensorboard(run_dir: Path, study: Mapping[str, Any]) -> Tracker:
    from results.loggers.tensorboard import TensorBoard

    return TensorBoard(run_dir, study)


def _mlflow(run_dir: Path, study: Mapping[str, Any]) -> Tracker:
    from results.loggers.mlflow import MLflow

    return MLflow(run_dir, study)


def _wandb(run_dir: Path, study: Mapping[str, Any]) -> Tracker:
    from results.loggers.wandb import WeightsAndBiases

    return WeightsAndBiases(run_dir, study)


__all__ = ["LOGGERS", "Logger", "LoggerError", "Tracker", "check_logger", "open_logger"]

# name -> the tracker for a run directory and the content of its study.json
LOGGERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


# What each one needs to be installed: the name of the package and of its extra.
LIBRARIES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}


def check_logger(name: str) -> None:
    """Checks, without importing anything heavy, that there is such a logger and that its library is installed.

    Raises:
        LoggerError: it cannot be used.
    """
    if name not in LOGGERS:
        raise LoggerError(f"there is no logger {name!r}; allowed: {', '.join(LOGGERS)}")
    if find_spec(LIBRARIES[name]) is None:
        raise LoggerError(f"{name} is not installed; pip install {LIBRARIES[name]}")


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=4)


def open_logger(name: str, run_dir: Path, study: Mapping[str, Any], warn: Callable[[str], None] = _warn) -> "Logger":
    """The logger `name` for a run directory.

    Args:
        study: the content of study.json.
        warn: takes the line about a tracker that fails later; a Python warning if not given.

    Raises:
        LoggerError: there is no such logger, or its library is not installed.
    """
    if name not in LOGGERS:
        raise LoggerError(f"there is no logger {name!r}; allowed: {', '.join(LOGGERS)}")
    try:
        return Logger(name, LOGGERS[name](run_dir, study), warn)
    except ImportError as error:
        raise LoggerError(f"{name} is not installed ({error}); pip install {name}") from None
    except Exception as error:
        raise LoggerError(f"{name} cannot be used: {_in_a_line(error)}") from None


class Logger:
    """Passes a study's events to a tracker. After the first failure, which is one warning, nothing more is passed."""

    def __init__(self, name: str, tracker: Tracker, warn: Callable[[str], None] = _warn) -> None:
        self.name, self._warn = name, warn
        self.has_failed = False
        self._tracker: Tracker | None = tracker

    def apply(self, event: Event) -> None:
        """Passes one event of the search's log; the log's order is to be kept. Never raises."""
        tracker = self._tracker
        if tracker is None:
            return
        try:
            match event:
                case TrialStarted():
                    tracker.start_trial(event)
                case EpochFinished():
                    tracker.log_epoch(event)
                case TrialEnded():
                    tracker.end_trial(event)
        except Exception as error:
            self._fail(tracker, error)

    def finish(self, run: Run) -> None:
        """Passes the verdict, the final numbers and the artifacts, and closes the tracker. Never raises."""
        tracker = self._tracker
        if tracker is None:
            return
        try:
            tracker.finish(_summary(run), _numbers(run), _artifacts(run))
            tracker.close()
        except Exception as error:
            self._fail(tracker, error)
        self._tracker = None

    def _fail(self, tracker: Tracker, error: Exception) -> None:
        self._tracker, self.has_failed = None, True
        self._warn(
            f"{self.name} failed and gets nothing more of this study: {_in_a_line(error)}; afterwards, python -m "
            f"results log RUN --to {self.name} logs all of it"
        )
        try:
            tracker.close()
        except Exception:  # it has failed already, and that has been said
            return


def _in_a_line(error: Exception) -> str:
    return on_one_line(f"{type(error).__name__}: {error}")[:300]


def _summary(run: Run) -> dict[str, Any]:
    final = run.final or {}
    found = {
        "status": run.status,
        "verdict": run.verdict,
        "sentence": final.get("sentence"),
        "best_trial": None if run.best is None else run.best["trial"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _numbers(run: Run) -> dict[str, float]:
    final = run.final or {}
    sides = ("winner", "tuned_baseline", "baseline", "recipe_under_test")
    found = {f"test_accuracy/{name}": float(final[name]["accuracy"]) for name in sides if final.get(name)}
    if "difference" in final:
        found["test_accuracy/difference"] = float(final["difference"])
    return found


def _artifacts(run: Run) -> list[Path]:
    names = ("report.html", "study.json", "best.json", "final/metrics.json", "final/model.pt")
    return [run.path / name for name in names if (run.path / name).is_file()]
