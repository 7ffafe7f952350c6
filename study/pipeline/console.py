"""Where a study's messages go, and how much of them."""

from dataclasses import dataclass

from rich.console import Console

from study.pipeline.progress import PhaseSize, Progress
from study.training.metrics import METRICS, Metric


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
