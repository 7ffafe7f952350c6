"""The events of a study, and the one reducer that turns them into its state.

    state = State()
    for line in lines:
        state.apply(from_json(json.loads(line)))

Their JSON is format 1 of docs/run-directory.md. The event log is the source of truth: the searcher, the scheduler, the
progress display and the tables see `State`, whether the study runs for the first time or is resumed. `study` writes
events, `results` reads them; they live here because `study` may import `results` and not the other way round.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


class EventError(ValueError):
    """Events that no study writes in this order. One line for the user."""


Status = Literal["completed", "stopped", "diverged", "failed"]
# Keys of an epoch's JSON that are no metric.
_NOT_METRICS = {
    "event",
    "number",
    "training_iteration",
    "seconds",
    "time_total_s",
    "time",
    "role",
    "seed",
    "trial",
    "fold",
    "device",
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to the trial `number`.

    Attributes:
        number: of the trial, from 0, in the order of suggestion.
        time: seconds since 1970.
        labels: what tells the trainings of a phase apart: `role`, `seed`, `trial`, the search's trial that is trained
            again, and `fold`, such as "2/5", of a cross-validation. Empty in a search.
    """

    kind: ClassVar[str]
    number: int
    time: float = 0.0
    labels: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The event as docs/run-directory.md has it."""
        return {"event": self.kind, "number": self.number, **self.labels, **self._own(), "time": self.time}

    def _own(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A trial begins. `config` has the Recipe fields that its space set (all of them outside a search), `params` what
    was drawn from Optuna where that differs from `config`, `seed` the Recipe's seed, `costs` the parameters,
    multiply_adds and file_bytes of its network where they are known."""

    kind = "trial"
    config: Mapping[str, Any]
    seed: int
    trial_id: str | None = None
    params: Mapping[str, Any] | None = None
    costs: Mapping[str, int] | None = None

    def _own(self) -> dict[str, Any]:
        named = {} if self.trial_id is None else {"trial_id": self.trial_id}
        drawn = {} if self.params is None else {"params": dict(self.params)}
        costs = {} if self.costs is None else {"costs": dict(self.costs)}
        return {**named, "config": dict(self.config), **drawn, "seed": self.seed, **costs}


@dataclass(frozen=True, kw_only=True)
class EpochFinished(Event):
    """One epoch is done. `metrics` has train_loss, val_loss, val_accuracy, ...; None where nothing was measured."""

    kind = "epoch"
    epoch: int  # from 1; "training_iteration" in JSON and tables, Ray's name
    metrics: Mapping[str, float | None]
    seconds: float
    time_total_s: float
    device: str | None = None

    def _own(self) -> dict[str, Any]:
        measured = {"training_iteration": self.epoch, **self.metrics}
        device = {} if self.device is None else {"device": self.device}
        return {**measured, "seconds": self.seconds, "time_total_s": self.time_total_s, **device}


@dataclass(frozen=True, kw_only=True)
class TrialRetried(Event):
    """A training failed and continues from its checkpoint."""

    kind = "retry"
    reason: str

    def _own(self) -> dict[str, Any]:
        return {"reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class TrialPaused(Event):
    """A trial waits at a rung; its slot is free."""

    kind = "rest"


@dataclass(frozen=True, kw_only=True)
class TrialPromoted(Event):
    """A paused trial continues from its checkpoint."""

    kind = "promote"


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial is over. `status` is completed, stopped, diverged or failed."""

    kind = "end"
    status: Status
    reason: str | None

    def _own(self) -> dict[str, Any]:
        return {"status": self.status, "stop_reason": self.reason}


EVENTS: dict[str, type[Event]] = {
    each.kind: each for each in (TrialStarted, EpochFinished, TrialRetried, TrialPaused, TrialPromoted, TrialEnded)
}


def from_json(content: Mapping[str, Any]) -> Event:
    """The event that `to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: `content` is no event of format 1.
    """
    labels = {name: content[name] for name in ("role", "seed", "trial", "fold") if name in content}
    number, time = content["number"], float(content.get("time", 0.0))
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"number is {number!r}")
    common: dict[str, Any] = {"number": number, "time": time, "labels": labels if "role" in content else {}}
    match content["event"]:
        case "trial":
            config = dict(content["config"])
            seed = content["seed"] if "seed" in content else config["seed"]
            return TrialStarted(
                **common,
                config=config,
                seed=seed,
                trial_id=content.get("trial_id"),
                params=content.get("params"),
                costs=content.get("costs"),
            )
        case "epoch":
            return EpochFinished(
                **common,
                epoch=int(content["training_iteration"]),
                metrics={name: value for name, value in content.items() if name not in _NOT_METRICS},
                seconds=float(content["seconds"]),
                time_total_s=float(content["time_total_s"]),
                device=content.get("device"),
            )
        case "retry":
            return TrialRetried(**common, reason=str(content["reason"]))
        case "rest":
            return TrialPaused(**common)
        case "promote":
            return TrialPromoted(**common)
        case "end":
            if content["status"] not in ("completed", "stopped", "diverged", "failed"):
                raise ValueError(f"status is {content['status']!r}")
            return TrialEnded(**common, status=content["status"], reason=content["stop_reason"])
    raise ValueError(f"event is {content['event']!r}; known: {', '.join(EVENTS)}")


@dataclass
class TrialState:
    """What is known of one trial.

    Attributes:
        epochs: those that are finished, in order; of one that was trained again after a crash, the last.
        paused: whether it waits at a rung.
        end: None until it is over.
    """

    started: TrialStarted
    epochs: list[EpochFinished] = field(default_factory=list)
    paused: bool = False
    end: TrialEnded | None = None

    @property
    def number(self) -> int:
        return self.started.number

    @property
    def epoch(self) -> int:
        """The last finished epoch; 0 before the first."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def seconds(self) -> float:
        """Of training and validation, over all epochs."""
        return self.epochs[-1].time_total_s if self.epochs else 0.0

    @property
    def is_running(self) -> bool:
        return self.end is None and not self.paused

    def values(self, metric: str) -> dict[int, float]:
        """`metric` by epoch, such as values("val_accuracy"); epochs where it was not measured are left out."""
        return {each.epoch: value for each in self.epochs if (value := each.metrics.get(metric)) is not None}


class State:
    """What the events so far add up to.

    Args:
        events: those to begin with.
        gaps: whether lines of the log may be missing, so that a trial's start may be; else that is an error.

    Attributes:
        trials: by number, in the order of their start.
        epochs: finished epochs of all trials together.

    Raises:
        EventError: from `apply`, an event that cannot be the next one.
    """

    def __init__(self, events: Iterable[Event] = (), *, gaps: bool = False) -> None:
        self._gaps = gaps
        self.trials: dict[int, TrialState] = {}
        self.epochs = 0
        self._running: dict[int, TrialState] = {}
        self._paused: dict[int, TrialState] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        if isinstance(event, TrialStarted):
            in_order = event.number not in self.trials if self._gaps else event.number == len(self.trials)
            if not in_order:
                raise EventError(f"the event log is damaged: trial {event.number} starts out of order")
            self.trials[event.number] = self._running[event.number] = TrialState(event)
            return
        trial = self.trials.get(event.number)
        if trial is None or trial.end is not None:
            raise EventError(f"the event log is damaged: trial {event.number} continues after its end, or never began")
        match event:
            case EpochFinished():
                if event.epoch > trial.epoch:
                    self.epochs += 1
                trial.epochs = [each for each in trial.epochs if each.epoch < event.epoch] + [event]
            case TrialPaused():
                trial.paused = True
                self._paused[event.number] = trial
                self._running.pop(event.number, None)
            case TrialPromoted():
                trial.paused = False
                self._running[event.number] = trial
                self._paused.pop(event.number, None)
            case TrialEnded():
                trial.end, trial.paused = event, False
                self._running.pop(event.number, None)
                self._paused.pop(event.number, None)

    def running(self) -> list[TrialState]:
        """Trials that run, by number. Its cost does not grow with the trials that have ended."""
        return [self._running[number] for number in sorted(self._running)]

    def paused(self) -> list[TrialState]:
        """Trials that wait at a rung, by number."""
        return [self._paused[number] for number in sorted(self._paused)]

    @property
    def paused_count(self) -> int:
        """How many trials wait at a rung."""
        return len(self._paused)

    def unfinished(self) -> list[TrialState]:
        """Trials that have begun and not ended, by number."""
        return sorted([*self._running.values(), *self._paused.values()], key=lambda trial: trial.number)
