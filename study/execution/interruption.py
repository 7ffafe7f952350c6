"""How a running study is asked to end: a time budget, or a signal."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray import tune

from study.errors import StudyInterrupted
from study.execution.process_local import ProcessLocal

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
TIME_BUDGET = "time budget"


class Interruption(ProcessLocal, tune.Stopper):
    """Ends Ray Tune's trials from outside: at a deadline, or on SIGINT, SIGTERM and SIGHUP.

    Attributes:
        reason: None until something asked for the end; then "time budget", "SIGINT", ..., or what `ask` was given.
    """

    def __init__(self, time_budget_s: float | None = None) -> None:
        self._time_budget_s, self._at_once = time_budget_s, False
        self.reason: str | None = None
        self.start_of_search()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = TIME_BUDGET
        return self.reason is not None

    def ask(self, reason: str) -> None:
        """Asks for the end of the trials that run now, such as "target reached"."""
        self.reason = self.reason or reason

    def start_of_search(self) -> None:
        """The time budget counts from now on."""
        self._deadline = None if self._time_budget_s is None else time.monotonic() + self._time_budget_s

    def end_of_search(self) -> None:
        """Cancels the time budget and the reasons given to `ask`, which bound the search only. Signals stay."""
        self._deadline = None
        if self.signal_number is None:
            self.reason = None

    @property
    def signal_number(self) -> int | None:
        """The signal that asked for the end, if one did."""
        reason = self.reason or ""
        return int(signal.Signals[reason]) if reason in signal.Signals.__members__ else None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Inside, the first signal asks for a clean end; a second SIGINT is Python's KeyboardInterrupt."""

        def ask(number: int, frame: FrameType | None) -> None:
            self.reason = signal.Signals(number).name
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._at_once:
                raise KeyboardInterrupt

        with _handled(ask):
            yield

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, each signal of `on_signals` is a KeyboardInterrupt: for minutes of work that nothing else would end.

        What is interrupted must be safe to do again.
        """
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False


@contextmanager
def signals_raised() -> Iterator[None]:
    """Inside, a signal is a KeyboardInterrupt, and leaves as a StudyInterrupted that names the signal.

    For what comes before and after the trainings: what has begun there is undone or is not needed.
    """
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    try:
        with _handled(interrupt):
            yield
    except KeyboardInterrupt:
        number = came[0] if came else signal.SIGINT
        raise StudyInterrupted(f"stopped by {signal.Signals(number).name}", number) from None


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, `handler` gets the signals; those of before get them again at the end.

    Python allows handlers in the main thread only; elsewhere, as in some notebooks' kernels, signals are left alone. A
    SIGHUP that is ignored stays ignored: nohup has done so, and the study is to outlive its terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if "SIGHUP" in signal.Signals.__members__ and before[signal.SIGHUP] == signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
