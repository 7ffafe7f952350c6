"""Schedulers: which trial pauses at a rung, and which paused trial is promoted.

SCHEDULERS has them by name (`--scheduler NAME`). One more is one class and one line: anything that takes a
SchedulerSettings and satisfies `Scheduler`.
"""

from collections.abc import Callable

from study.search.schedulers.asha import ASHA, rungs
from study.search.schedulers.scheduler import (
    CONTINUE,
    PAUSE,
    STOP,
    Decision,
    NoScheduler,
    Scheduler,
    SchedulerSettings,
)

__all__ = [
    "ASHA",
    "CONTINUE",
    "PAUSE",
    "SCHEDULERS",
    "STOP",
    "Decision",
    "NoScheduler",
    "Scheduler",
    "SchedulerSettings",
    "rungs",
]

SCHEDULERS: dict[str, Callable[[SchedulerSettings], Scheduler]] = {"asha": ASHA, "none": NoScheduler}
