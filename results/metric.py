"""The metric that selects trials, as study.json names it: its direction, and how a person reads it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MetricInfo:
    """A validation metric.

    Attributes:
        name: such as "accuracy"; the tables call it `val_<name>`.
        mode: "max" where larger is better, else "min".
        format: for a person, such as "{:.2%}".
    """

    name: str
    mode: Literal["max", "min"]
    format: str = "{:.4f}"

    @property
    def column(self) -> str:
        """Its column in the tables, and its key in an epoch's metrics."""
        return f"val_{self.name}"

    @property
    def words(self) -> str:
        """What a heading or an axis calls it, such as "validation accuracy"."""
        return f"validation {self.name.replace('_', ' ')}"

    @property
    def is_share(self) -> bool:
        """Whether a person reads it as a percentage."""
        return self.format.endswith("%}")

    @property
    def scale(self) -> int:
        """What a value is multiplied by where a picture shows it: 100 for percentages."""
        return 100 if self.is_share else 1

    @property
    def maximize(self) -> bool:
        return self.mode == "max"

    def is_better(self, one: float, other: float) -> bool:
        return one > other if self.maximize else one < other

    def text(self, value: float) -> str:
        return self.format.format(value)

    def difference(self, value: float, *, sign: bool = False) -> str:
        """A difference of two values: points of a percentage, else the number."""
        flag = "+" if sign else ""
        return f"{100 * value:{flag}.2f} points" if self.is_share else f"{value:{flag}.4f}"


ACCURACY = MetricInfo("accuracy", "max", "{:.2%}")
