"""What is measured on a split: METRICS. One of them selects trials (`--metric`); accuracy is the default."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Metric:
    """A number that says how good predictions are.

    Attributes:
        name: such as "accuracy"; columns and events call it `val_<name>`.
        mode: "max" where larger is better, else "min".
        function: (labels int64 [N], probabilities float32 [N, classes]) -> a finite number.
        format: for a person, such as "{:.2%}".
    """

    name: str
    mode: Literal["max", "min"]
    function: Callable[[Labels, Probabilities], float]
    format: str = "{:.4f}"

    def is_better(self, one: float, other: float) -> bool:
        return one > other if self.mode == "max" else one < other


def _accuracy(labels: Labels, probabilities: Probabilities) -> float:
    return float((probabilities.argmax(1) == labels).mean())


METRICS: dict[str, Metric] = {"accuracy": Metric("accuracy", "max", _accuracy, "{:.2%}")}
