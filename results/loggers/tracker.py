"""What a tracking library must do for `Logger`, and what all of them write of a study."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from results.events import EpochFinished, TrialEnded, TrialStarted


class LoggerError(ValueError):
    """A tracker that cannot be used. The message is one line for the user."""


class Tracker(Protocol):
    """What a tracking library must do. Any exception that it raises is turned into a warning by `Logger`."""

    def start_trial(self, event: TrialStarted) -> None:
        """A trial begins: its parameters."""

    def log_epoch(self, event: EpochFinished) -> None:
        """An epoch of a trial that has begun: its metrics."""

    def end_trial(self, event: TrialEnded) -> None:
        """A trial is over: its status and reason."""

    def finish(self, summary: Mapping[str, Any], numbers: Mapping[str, float], files: Iterable[Path]) -> None:
        """The study is over: `summary` in words, final `numbers`, and the files to keep as artifacts."""

    def close(self) -> None:
        """Everything is written, and the library lets go of its resources. Called once, also after a failure."""


def settings(study: Mapping[str, Any]) -> dict[str, Any]:
    """What of study.json describes the study in a tracker, as scalars."""
    names = ("space", "samples", "max_epochs", "grace_period", "reduction_factor", "seed", "dataset", "created")
    return {name: study[name] for name in names if isinstance(study.get(name), str | int | float)}


def measured(event: EpochFinished) -> dict[str, float]:
    """The metrics of an epoch that were measured, and its seconds."""
    return {name: value for name, value in event.metrics.items() if value is not None} | {"seconds": event.seconds}
