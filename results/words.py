"""Values as a person reads them, in a terminal, a page or a picture."""

from collections.abc import Mapping
from typing import Any


def count(number: int, noun: str) -> str:
    """Such as "1 trial" or "1,200 trials"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def word(value: Any) -> str:
    """One value of a Recipe field."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def recipe_in_words(config: Mapping[str, Any]) -> str:
    """Recipe fields in one line."""
    return ", ".join(f"{name} {word(value)}" for name, value in config.items())


def duration(seconds: float) -> str:
    """Such as "42 s", "1 minute" or "1.5 hours"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return count(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"


def mean_accuracy(side: Mapping[str, Any]) -> float:
    """A fraction, the mean over the seeds of one side of final/metrics.json."""
    return sum(float(each["accuracy"]) for each in side["seeds"]) / len(side["seeds"])


def on_one_line(text: str) -> str:
    """Text without control characters, such as terminal escape sequences and line breaks, which become `\\x1b`."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
