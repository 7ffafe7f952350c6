"""What a person sees while a phase runs: a live display on a terminal, one line an event worth knowing elsewhere."""

import json
import threading
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from results.events import (
    EpochFinished,
    Event,
    State,
    TrialEnded,
    TrialPaused,
    TrialPromoted,
    TrialRetried,
    TrialStarted,
    TrialState,
)
from results.further_search import FinalValues, FurtherSearch, worth_for
from results.metric import MetricInfo
from study.training.metrics import METRICS, Metric

SILENT_FOR_S = 30.0  # at most, where the display is not live
ROWS = 8  # of running trials, in the live display


@dataclass(frozen=True)
class PhaseSize:
    """How large a phase is.

    Attributes:
        title: such as "search".
        trainings: how many there are; None where epochs bound them, so that nobody knows.
        epochs: of a training that is not stopped.
        expected_epochs: of all trainings together, the least and the most that is likely; None where nobody knows.
        slots: how many trainings run at once, where each of them trains to its end; None where some are stopped.
        is_search: whether more trainings would be further draws of the same kind.
    """

    title: str
    trainings: int | None
    epochs: int
    expected_epochs: tuple[float, float] | None = None
    slots: int | None = None
    is_search: bool = False


class Progress:
    """Follows the events of one phase.

    Args:
        style: rich (live), plain, json, none, or auto: rich on a terminal or in a notebook, else plain.
        metric: that selects.
        silent_for: seconds after which plain and json say how far the phase is, whatever happened.
    """

    def __init__(
        self,
        console: Console,
        size: PhaseSize,
        style: str = "auto",
        metric: Metric = METRICS["accuracy"],
        silent_for: float = SILENT_FOR_S,
    ) -> None:
        self._console, self._size, self._silent_for = console, size, silent_for
        live = console.is_terminal or console.is_jupyter
        self.style = ("rich" if live else "plain") if style == "auto" else style
        self._metric = metric
        self._started = self._last_line = time.monotonic()
        self._state = State()
        self._worth: FurtherSearch | None = None
        self._finals = FinalValues(f"val_{metric.name}", size.epochs)
        self._hidden: set[int] = set()
        self._statuses: Counter[str] = Counter()  # of trainings that have ended
        self._values: dict[int, tuple[float, int]] = {}
        self._best_first: list[tuple[float, int]] = []  # the signed last value and the number
        self._epochs_before = 0
        self._lock = threading.Lock()

    def catch_up(self, events: Iterable[Event], numbers: Collection[int] | None = None) -> None:
        """Takes what an earlier process did, of the trainings `numbers` or of all, without printing it."""
        events = list(events)
        if numbers is not None:
            self._hidden = {event.number for event in events} - set(numbers)
        for event in events:
            self._take(event)
        self._worth = self._further_search()
        self._epochs_before = self._state.epochs

    def apply(self, event: Event) -> None:
        """Takes one event as it happens, and prints it where the style does."""
        with self._lock:
            self._take(event)
            if isinstance(event, TrialEnded) and event.status == "completed":
                self._worth = self._further_search()
        if self.style == "json":
            self._print_json({**event.to_json(), **self._summary()})
        elif self.style in ("plain", "rich") and (line := self._line(event)) is not None:
            self._print(line)

    def _take(self, event: Event) -> None:
        """Updates what is shown; it looks at no other trial than the event's."""
        self._state.apply(event)
        trial = self._state.trials[event.number]
        if self._size.is_search:
            self._finals.apply(event, trial)
        if event.number in self._hidden:
            return
        if isinstance(event, TrialEnded):
            self._statuses[event.status] += 1
        elif isinstance(event, EpochFinished):
            self._rank(trial)

    def _rank(self, trial: TrialState) -> None:
        """Puts a trial at its place by its last value."""
        if (before := self._values.pop(trial.number, None)) is not None:
            self._best_first.pop(bisect_left(self._best_first, before))
        if (value := self._value(trial)) is not None:
            place = (-value if self._metric.mode == "max" else value, trial.number)
            insort(self._best_first, place)
            self._values[trial.number] = place

    def warn(self, text: str) -> None:
        self._console.print(f"Warning: {text}", soft_wrap=True, highlight=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Inside, the display is drawn four times a second, or a line comes at least every `silent_for` seconds."""
        if self.style == "rich":
            live = Live(get_renderable=self._draw, console=self._console, transient=True, refresh_per_second=4)
            with live:
                yield
        elif self.style in ("plain", "json"):
            done = threading.Event()
            thread = threading.Thread(target=self._heartbeat, args=(done,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()
        else:
            yield

    def _heartbeat(self, done: threading.Event) -> None:
        while not done.wait(min(1.0, self._silent_for / 2)):
            if time.monotonic() - self._last_line >= self._silent_for:
                with self._lock:
                    summary, line = self._summary(), self._status()
                if self.style == "json":
                    self._print_json({"event": "progress", **summary})
                else:
                    self._print(line)

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _print_json(self, content: Mapping[str, Any]) -> None:
        self._last_line = time.monotonic()
        line = json.dumps({"phase": self._size.title, **content})
        self._console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def _line(self, event: Event) -> str | None:
        """What is worth a line. On a live display that is only what would be lost."""
        name = self._name(event.number)
        if isinstance(event, TrialRetried):
            return f"{name} continues from its checkpoint after: {event.reason}"
        if self.style == "rich":
            return None
        trial = self._state.trials[event.number]
        match event:
            case TrialStarted():
                return f"{name} started: {words(event.config)}" if self._size.is_search else f"{name} started"
            case TrialPaused():
                return f"{name} paused after {count(trial.epoch, 'epoch')}, {self._score(trial)}{self._tally()}"
            case TrialPromoted():
                return f"{name} promoted, continues after {count(trial.epoch, 'epoch')}"
            case TrialEnded():
                reason = f" ({event.reason})" if event.reason else ""
                after = f" after {count(trial.epoch, 'epoch')}, {self._score(trial)}" if trial.epochs else ""
                return f"{name} {event.status}{reason}{after}{self._tally()}"
        return None

    def _tally(self) -> str:
        ended = self._statuses.total()
        of = "" if self._size.trainings is None else f"/{self._size.trainings}"
        return f"  [{ended}{of} ended, {count(self._state.epochs, 'epoch')}]"

    def _summary(self) -> dict[str, Any]:
        best = self._best()
        return {
            "elapsed_s": round(self._elapsed(), 1),
            "epochs": self._state.epochs,
            "running": len(self._state.running()),
            "paused": self._state.paused_count,
            "ended": self._statuses.total(),
            "trainings": self._size.trainings,
            "best": None if best is None else {"number": best.number, self._metric.name: self._value(best)},
            "left_s": self._left(),
            "further_search": None if self._worth is None else asdict(self._worth),
        }

    def _status(self) -> str:
        """One line: how far the phase is, and the best so far."""
        state, best = self._state, self._best()
        parts = [
            f"{self._size.title}: {self._statuses.total()} ended",
            f"{state.paused_count} paused" if state.paused_count else "",
            f"{len(state.running())} running",
            count(state.epochs, "epoch"),
            f"{clock(self._elapsed())} elapsed",
            self._left_in_words(),
        ]
        if best is not None:
            parts.append(f"best so far {self._name(best.number)} with {self._score(best)}")
        parts.append(self._worth_in_words())
        return ", ".join(part for part in parts if part)

    def _name(self, number: int) -> str:
        trial = self._state.trials.get(number)
        labels = {} if trial is None else trial.started.labels
        if "role" not in labels:
            return f"trial {number}"
        of_trial = f" of trial {labels['trial']}" if "trial" in labels else ""
        fold = f", fold {labels['fold']}" if "fold" in labels else ""
        return f"{str(labels['role']).replace('_', ' ')}{of_trial}, seed {labels['seed']}{fold}"

    def _value(self, trial: TrialState) -> float | None:
        return trial.epochs[-1].metrics.get(f"val_{self._metric.name}") if trial.epochs else None

    def _score(self, trial: TrialState) -> str:
        value = self._value(trial)
        if value is not None:
            return f"validation {self._metric.name.replace('_', ' ')} {self._metric.format.format(value)}"
        loss = trial.epochs[-1].metrics.get("train_loss") if trial.epochs else None
        return "no epoch yet" if loss is None else f"training loss {loss:.3f}"

    def _best(self) -> TrialState | None:
        return self._state.trials[self._best_first[0][1]] if self._best_first else None

    def _shown(self) -> list[TrialState]:
        """All trials but those that belong to another request, such as a seed that is no longer asked for."""
        return [trial for number, trial in self._state.trials.items() if number not in self._hidden]

    def _further_search(self) -> FurtherSearch | None:
        """What more trials are worth; nothing in a phase that is no search."""
        if not self._size.is_search:
            return None
        return worth_for(self._finals.values(), self._about)

    def _worth_in_words(self) -> str:
        return "" if self._worth is None else f"what further search is worth ({self._worth.in_words(self._about)})"

    @property
    def _about(self) -> MetricInfo:
        return MetricInfo(self._metric.name, self._metric.mode, self._metric.format)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _left(self) -> tuple[float, float] | None:
        """Seconds that are left, least and most likely, at the pace of the epochs so far."""
        if self._size.slots is not None and self._size.trainings is not None:
            return self._left_of_trainings(self._size.trainings, self._size.slots)
        now = self._state.epochs - self._epochs_before
        if self._size.expected_epochs is None or now < 1:
            return None
        pace = self._elapsed() / now
        low, high = self._size.expected_epochs
        return max(0.0, low - self._state.epochs) * pace, max(0.0, high - self._state.epochs) * pace

    def _left_of_trainings(self, trainings: int, slots: int) -> tuple[float, float] | None:
        """The same where every training goes to its end: each at its own pace, one without epochs at the mean pace.

        No schedule is shorter than the mean load of a slot, nor than the longest training.
        """
        shown = self._shown()
        if not any(trial.epochs for trial in shown):
            return None
        mean = sum(trial.seconds for trial in shown) / sum(len(trial.epochs) for trial in shown)
        left = [
            (self._size.epochs - trial.epoch) * (trial.seconds / trial.epoch if trial.epoch else mean)
            for trial in shown
            if trial.end is None
        ]
        left += [self._size.epochs * mean] * (trainings - len(shown))
        seconds = max(sum(left) / slots, max(left, default=0.0))
        return seconds, seconds

    def _left_in_words(self) -> str:
        left = self._left()
        if left is None or left[1] == 0:
            return ""
        low, high = clock(left[0]), clock(left[1])
        return f"about {high} left" if low == high else f"{low} to {high} left"

    def _draw(self) -> Group:
        with self._lock:
            return self._rendered()

    def _rendered(self) -> Group:
        state, statuses, running = self._state, self._statuses, self._state.running()
        ended = statuses.total()
        counts = Text.assemble(
            (f"{self._size.title}  ", "bold"),
            f"{ended} ended" if self._size.trainings is None else f"{ended} of {self._size.trainings} ended",
            f" · {statuses['stopped']} stopped early" if statuses["stopped"] else "",
            (f" · {statuses['diverged']} diverged", "yellow") if statuses["diverged"] else "",
            (f" · {statuses['failed']} failed", "red") if statuses["failed"] else "",
            f" · {state.paused_count} paused" if state.paused_count else "",
            f" · {len(running)} running · {count(state.epochs, 'epoch')} · {clock(self._elapsed())} elapsed",
            f" · {left}" if (left := self._left_in_words()) else "",
        )
        bar = Table.grid()
        bar.add_row(ProgressBar(total=self._size.trainings, completed=ended, width=60))
        rows: list[RenderableType] = [counts, bar]
        if (best := self._best()) is not None:
            rows.append(Text(f"best so far: {self._name(best.number)}, {self._score(best)}", style="green"))
            rows.append(Text("  " + words(best.started.config), style="dim"))
        if self._worth is not None:
            rows.append(Text(self._worth_in_words()))
        return Group(*rows, self._table(running))

    def _table(self, running: list[TrialState]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(running))
        for heading in ("running", "epoch", "loss", f"val. {self._metric.name.replace('_', ' ')}"):
            table.add_column(heading, justify="left" if heading == "running" else "right", header_style="dim")
        for trial in running[-ROWS:]:
            loss = trial.epochs[-1].metrics.get("train_loss") if trial.epochs else None
            value = self._value(trial)
            table.add_row(
                self._name(trial.number),
                f"{trial.epoch}/{self._size.epochs}",
                "" if loss is None else f"{loss:.3f}",
                "" if value is None else self._metric.format.format(value),
            )
        return table


def words(config: Mapping[str, Any]) -> str:
    """Recipe fields in one line."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in config.items()
    )


def count(number: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def clock(seconds: float) -> str:
    """`1:05`, `1:00:05`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
