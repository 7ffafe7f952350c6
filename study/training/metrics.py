"""METRICS: what is measured on a split. One of them selects trials (`--metric`); accuracy is the default.

The cheap ones are measured after each epoch, any other one where it selects. Their formulas are those of
scikit-learn, to which the tests compare them: importing scikit-learn takes each worker 150 MB and up to three seconds,
so only what really needs it imports it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.floating]


@dataclass(frozen=True)
class Metric:
    """A number that says how good predictions are.

    Attributes:
        name: such as "accuracy"; columns and events call it `val_<name>`.
        mode: "max" where larger is better, else "min".
        function: (labels int64 [N], probabilities float [N, classes]) -> a number.
        format: for a person, such as "{:.2%}".
        cheap: whether it takes only milliseconds, and so is measured after each epoch of every training.
    """

    name: str
    mode: Literal["max", "min"]
    function: Callable[[Labels, Probabilities], float]
    format: str = "{:.4f}"
    cheap: bool = True

    def is_better(self, one: float, other: float) -> bool:
        return one > other if self.mode == "max" else one < other


def _accuracy(labels: Labels, probabilities: Probabilities) -> float:
    """Rounded to float32, as in the event logs of version 0.1, with which a replay is compared bit for bit."""
    return float(np.float32((probabilities.argmax(1) == labels).mean()))


def _confusion(labels: Labels, probabilities: Probabilities) -> NDArray[np.int64]:
    """Images of each class (row) predicted as each class (column), int64 [classes, classes]."""
    classes = probabilities.shape[1]
    return np.bincount(labels * classes + probabilities.argmax(1), minlength=classes**2).reshape(classes, classes)


def _balanced_accuracy(labels: Labels, probabilities: Probabilities) -> float:
    """The mean recall of the classes that have images; sklearn.metrics.balanced_accuracy_score."""
    confusion = _confusion(labels, probabilities)
    images = confusion.sum(1)
    return float((confusion.diagonal()[images > 0] / images[images > 0]).mean())


def _macro_f1(labels: Labels, probabilities: Probabilities) -> float:
    """The mean F1 score of the classes that have images or are predicted; sklearn.metrics.f1_score(average="macro")."""
    confusion = _confusion(labels, probabilities)
    either = confusion.sum(0) + confusion.sum(1)
    return float((2 * confusion.diagonal()[either > 0] / either[either > 0]).mean())


def _kappa(labels: Labels, probabilities: Probabilities) -> float:
    """Agreement beyond chance (Cohen 1960); sklearn.metrics.cohen_kappa_score.

    0 where all images have one class and are predicted so, for which the formula is 0 / 0.
    """
    confusion = _confusion(labels, probabilities) / len(labels)
    chance = float(confusion.sum(0) @ confusion.sum(1))
    return (float(confusion.trace()) - chance) / (1 - chance) if chance < 1 else 0.0


def _log_loss(labels: Labels, probabilities: Probabilities) -> float:
    """The mean cross-entropy in nats, no probability below the resolution of its type; sklearn.metrics.log_loss."""
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_label, np.finfo(probabilities.dtype).eps, 1)).mean(dtype=np.float64))


def _roc_auc(labels: Labels, probabilities: Probabilities) -> float:
    """The mean over classes of the area under the ROC curve of one class against the rest.

    Classes without images, or with nothing but, have no such curve and are left out.
    """
    from sklearn.metrics import roc_auc_score

    present = [label for label in range(probabilities.shape[1]) if 0 < (labels == label).sum() < len(labels)]
    return float(np.mean([roc_auc_score(labels == label, probabilities[:, label]) for label in present]))


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", "max", _accuracy, "{:.2%}"),
    "balanced_accuracy": Metric("balanced_accuracy", "max", _balanced_accuracy, "{:.2%}"),
    "macro_f1": Metric("macro_f1", "max", _macro_f1),
    "log_loss": Metric("log_loss", "min", _log_loss),
    "roc_auc": Metric("roc_auc", "max", _roc_auc, cheap=False),
    "kappa": Metric("kappa", "max", _kappa),
}


def measured_each_epoch(selecting: str = "accuracy") -> tuple[str, ...]:
    """The names of the metrics that a training measures after each epoch: the cheap ones and the one that selects."""
    return tuple(name for name, metric in METRICS.items() if metric.cheap or name == selecting)


def measure(labels: Labels, probabilities: Probabilities, names: Sequence[str]) -> dict[str, float]:
    """The metrics called `names` over a split, each under `val_<name>`."""
    return {f"val_{name}": METRICS[name].function(labels, probabilities) for name in names}
