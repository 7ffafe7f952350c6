"""What a scheduler is, and the words for what it decides.

A scheduler learns everything from the study's events, in a study that runs and in one that is resumed alike:

    scheduler = SCHEDULERS["asha"](SchedulerSettings(max_epochs=27, samples=20))
    for event in event_log.events:
        scheduler.apply(event)
    scheduler.decide(3), scheduler.next_promotion()

It knows neither Ray nor files.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from results.events import EpochFinished, Event, TrialEnded, TrialStarted
from study.training.metrics import METRICS, Metric

# What a trial does after an epoch, as Syne Tune names it.
Decision = Literal["CONTINUE", "PAUSE", "STOP"]
CONTINUE: Decision = "CONTINUE"  # it trains its next epoch at once
PAUSE: Decision = "PAUSE"  # it keeps its state and gives up its slot, until it is promoted
STOP: Decision = "STOP"  # it is over: it has had its last epoch, or its metric is no finite number


@dataclass(frozen=True)
class SchedulerSettings:
    """What every scheduler is made from.

    Attributes:
        max_epochs: epochs of a trial that nothing stops.
        samples: trials that begin at most.
        grace_period: the first epoch after which trials are compared.
        reduction_factor: of the trials at a rung, one in so many is promoted.
        metric: of `val_<name>`, larger or smaller is better, as its mode says.
        base: the Recipe fields of a trial that its TrialStarted.config does not set.
    """

    max_epochs: int
    samples: int
    grace_period: int = 1
    reduction_factor: int = 2
    metric: Metric = METRICS["accuracy"]
    base: Mapping[str, Any] = field(default_factory=dict)


class Scheduler(Protocol):
    """Decides after each epoch of a trial, and names the paused trial that a free slot is for.

    Attributes:
        rungs: the epochs after which a trial may pause, ascending; its state is saved there.
    """

    rungs: Sequence[int]

    def apply(self, event: Event) -> None:
        """Takes one event. Events come in the order of the event log."""

    def decide(self, number: int) -> Decision:
        """What trial `number`, which runs, does after its last epoch.

        The decision is fixed when the epoch is applied; repeated calls return the same value. A resumed study carries
        out the decisions whose events were not written.
        """

    def next_promotion(self) -> int | None:
        """The paused trial that a free slot is for; it runs again when its TrialPromoted is applied."""

    def cannot_be_promoted(self) -> dict[int, int]:
        """Paused trials that will not be promoted unless better ones fail, and the epoch at which each is paused."""

    def likeliest_to_be_promoted(self, count: int) -> set[int]:
        """The `count` paused trials whose saved state is most likely to be needed."""

    def paused(self) -> dict[int, int]:
        """All paused trials, and the epoch at which each is paused."""

    def no_more_trials(self) -> None:
        """No other trials will begin than those that have."""

    def expected_epochs(self) -> tuple[float, float]:
        """Epochs of all trials together, the least and the most that is likely, if none ends early by itself."""


def score(event: EpochFinished, metric: Metric) -> float:
    """The trial's metric after this epoch, such that larger is better; NaN where it is missing or not finite."""
    value = event.metrics.get(f"val_{metric.name}")
    if value is None or not math.isfinite(value):
        return math.nan
    return value if metric.mode == "max" else -value


class NoScheduler:
    """Every trial trains to its last epoch."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self.rungs: Sequence[int] = ()
        self._settings = settings
        self._decisions: dict[int, Decision] = {}

    def apply(self, event: Event) -> None:
        match event:
            case TrialStarted():
                self._decisions[event.number] = CONTINUE
            case EpochFinished():
                over = event.epoch >= self._settings.max_epochs or math.isnan(score(event, self._settings.metric))
                self._decisions[event.number] = STOP if over else CONTINUE
            case TrialEnded():
                self._decisions.pop(event.number, None)

    def decide(self, number: int) -> Decision:
        return self._decisions[number]

    def next_promotion(self) -> int | None:
        return None

    def cannot_be_promoted(self) -> dict[int, int]:
        return {}

    def likeliest_to_be_promoted(self, count: int) -> set[int]:
        return set()

    def paused(self) -> dict[int, int]:
        return {}

    def no_more_trials(self) -> None:
        pass

    def expected_epochs(self) -> tuple[float, float]:
        every = float(self._settings.samples * self._settings.max_epochs)
        return every, every
