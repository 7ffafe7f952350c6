"""Where a study's messages go, and how much of them."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from study.pipeline.progress import PhaseSize, Progress
from study.training.metrics import METRICS, Metric


class StudyConsole(Console):
    """A console that falls silent where nothing can be written any more, such as after `| head -1`.

    What a study prints is a view: the study itself continues.
    """

    def on_broken_pipe(self) -> None:
        self._fall_silent()

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except (OSError, ValueError):  # the disk under a log is full, the terminal is gone, or the file is closed
            self._fall_silent()

    def __exit__(self, *exception: Any) -> None:
        try:
            super().__exit__(*exception)
        except (OSError, ValueError):
            self._fall_silent()

    def _fall_silent(self) -> None:
        self.quiet = True
        stream = sys.stderr if self.stderr else sys.stdout
        with suppress(OSError, ValueError, AttributeError):  # Python would complain about it at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@dataclass(frozen=True, eq=False)
class Output:
    """The console of a study.

    Attributes:
        quiet: print only the verdict.
        progress: rich (live on a terminal), plain (one line an event), json (one object a line), none, or auto.
    """

    console: Console
    quiet: bool = False
    progress: str = "auto"

    def say(self, line: str) -> None:
        """Prints one message, unless quiet."""
        if not self.quiet:
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def follow(self, size: PhaseSize, metric: Metric = METRICS["accuracy"]) -> Progress:
        """A progress display for a phase."""
        return Progress(self.console, size, "none" if self.quiet else self.progress, metric)
