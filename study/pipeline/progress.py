"""What a person sees while a study runs: one live screen on a terminal, one plain line a finished trial elsewhere."""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.storage.event_log import Event


class Progress:
    """Follows the events of a record.

    Args:
        console: on a terminal the screen is live; elsewhere, and with `quiet`, it is not drawn.
        title: the phase, such as "search".
        trainings: how many there are in all; None where epochs and not trainings bound them, so that nobody knows.
        epochs: how many one of them has if nothing stops it.
    """

    def __init__(
        self, console: Console, title: str, trainings: int | None, epochs: int, *, quiet: bool = False
    ) -> None:
        self._console, self._title, self._quiet = console, title, quiet
        self._trainings, self._max_epochs = trainings, epochs
        self._started = time.monotonic()
        self._names: dict[int, str] = {}
        self._configs: dict[int, dict[str, Any]] = {}
        self._last: dict[int, Event] = {}
        self._ends: dict[int, Event] = {}
        self._paused: set[int] = set()
        self._epochs = self._epochs_before = 0

    def catch_up(self, events: Iterable[Event], numbers: Collection[int] | None = None) -> None:
        """Takes what an earlier process did, of the trainings `numbers` or of all, without a word."""
        for event in events:
            if numbers is None or event["number"] in numbers:
                self._take(event)
        self._epochs_before = self._epochs

    def __call__(self, event: Event) -> None:
        self._take(event)
        if event["event"] == "end" and not self._quiet and not self._console.is_terminal:
            self._console.print(self._line(event["number"]), soft_wrap=True, highlight=False)
        if event["event"] == "retry" and not self._quiet:
            self._console.print(
                f"{self._name(event)} goes on from its checkpoint after: {event['reason']}", soft_wrap=True
            )

    def warn(self, text: str) -> None:
        self._console.print(f"Warning: {text}", soft_wrap=True, highlight=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Inside, the screen is drawn anew four times a second, on a terminal."""
        if self._quiet or not self._console.is_terminal:
            yield
            return
        with Live(get_renderable=self._draw, console=self._console, transient=True, refresh_per_second=4):
            yield

    def _take(self, event: Event) -> None:
        number = event["number"]
        if event["event"] == "trial":
            self._names[number] = self._name(event)
            self._configs[number] = event["config"]
        elif event["event"] == "epoch":
            self._last[number] = event
            self._epochs += 1
        elif event["event"] == "rest":
            self._paused.add(number)
        elif event["event"] == "promote":
            self._paused.discard(number)
        elif event["event"] == "end":
            self._paused.discard(number)
            self._ends[number] = event

    @staticmethod
    def _name(event: Event) -> str:
        if "role" not in event:
            return f"trial {event['number']}"
        of_trial = f" of trial {event['trial']}" if "trial" in event else ""
        return f"{event['role'].replace('_', ' ')}{of_trial}, seed {event['seed']}"

    def _line(self, number: int) -> str:
        end, last = self._ends[number], self._last.get(number)
        parts = [f"{self._names[number]}: {end['status']}"]
        if end["stop_reason"]:
            parts.append(f"({end['stop_reason']})")
        if last:
            epochs = last["training_iteration"]
            parts.append(f"after {epochs} epoch{'' if epochs == 1 else 's'}, {_score(last)}")
        ended = len(self._ends)
        count = f"{ended}, {self._epochs} epochs" if self._trainings is None else f"{ended}/{self._trainings}"
        return " ".join(parts) + f"  \\[{count}]"

    def _draw(self) -> Group:
        statuses = [end["status"] for end in self._ends.values()]
        running = [number for number in self._names if number not in {*self._ends, *self._paused}]
        elapsed = time.monotonic() - self._started
        counts = Text.assemble(
            (f"{self._title}  ", "bold"),
            f"{len(self._ends)} done" if self._trainings is None else f"{len(self._ends)} of {self._trainings} done",
            f" · {statuses.count('stopped')} stopped early" if "stopped" in statuses else "",
            (f" · {statuses.count('diverged')} diverged", "yellow") if "diverged" in statuses else "",
            (f" · {statuses.count('failed')} failed", "red") if "failed" in statuses else "",
            f" · {len(self._paused)} at a rung" if self._paused else "",
            f" · {len(running)} running · {self._epochs} epochs · {_clock(elapsed)} elapsed{self._left(elapsed)}",
        )
        bar = Table.grid()
        bar.add_row(ProgressBar(total=self._trainings, completed=len(self._ends), width=60))
        rows: list[RenderableType] = [counts, bar]
        best = max(
            (event for event in self._last.values() if event["val_accuracy"] is not None),
            key=lambda event: event["val_accuracy"],
            default=None,
        )
        if best is not None:
            rows.append(Text(f"best so far: {self._names[best['number']]}, {_score(best)}", style="green"))
            rows.append(Text("  " + _words(self._configs[best["number"]]), style="dim"))
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(running))
        for heading in ("running", "epoch", "loss", "val. accuracy"):
            table.add_column(heading, justify="left" if heading == "running" else "right", header_style="dim")
        for number in running[-8:]:
            last = self._last.get(number)
            accuracy = None if last is None else last["val_accuracy"]
            table.add_row(
                self._names[number],
                f"{last['training_iteration'] if last else 0}/{self._max_epochs}",
                f"{last['train_loss']:.3f}" if last else "",
                f"{accuracy:.2%}" if accuracy is not None else "",
            )
        return Group(*rows, table)

    def _left(self, elapsed: float) -> str:
        """An estimate once something has ended: the trainings to come will use as many epochs as those that ended."""
        ended = [number for number in self._ends if number in self._last]
        now = self._epochs - self._epochs_before
        if self._trainings is None or not ended or not now:
            return ""
        mean = sum(self._last[number]["training_iteration"] for number in ended) / len(ended)
        expected = max(self._epochs, mean * self._trainings)
        return f" · about {_clock(elapsed * (expected - self._epochs) / now)} left"


def _score(event: Event) -> str:
    accuracy = event["val_accuracy"]
    return f"training loss {event['train_loss']:.3f}" if accuracy is None else f"{accuracy:.2%} validation accuracy"


def _words(config: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in config.items()
    )


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
