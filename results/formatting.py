"""Values as a person reads them, in a terminal, a page or a picture."""

import re
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


NOT_USED = "not used"


def used(recipe: Mapping[str, Any], side: Mapping[str, Any]) -> dict[str, Any]:
    """`recipe`, with NOT_USED for the fields that its network and optimizer ignore, as a side of metrics.json says."""
    return {name: NOT_USED if name in side.get("unused", {}) else value for name, value in recipe.items()}


# What a terminal or a browser acts on instead of showing it: C0 and C1 controls, among them escape sequences and line
# breaks, halves of characters, and what turns the direction of writing around.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def on_one_line(text: str) -> str:
    """The text with every control character shown as an escape, such as `\\x1b`."""
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
