"""Differences in metrics that are no mean over images, such as balanced accuracy or macro F1, by a paired bootstrap.

Both sides are evaluated on the same resampled test images, so that what makes an image hard for both is no doubt about
their difference.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from results.calibration import Labels
from results.model_comparison import CONFIDENCE, Interval
from results.recipe_comparison import Estimate, ImagesPart, of_values
from results.seed_deviation import SeedDeviation

RESAMPLES = 2000
AT_ONCE = 100

Counts = NDArray[np.float64]
ConfusionMetric = Callable[[Counts], NDArray[np.float64]]


def _accuracy(confusion: Counts) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))
    return found


def _balanced_accuracy(confusion: Counts) -> NDArray[np.float64]:
    return _mean_of_classes(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1))


def _macro_f1(confusion: Counts) -> NDArray[np.float64]:
    return _mean_of_classes(2 * np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1) + confusion.sum(-2))


def _mean_of_classes(right: Counts, of: Counts) -> NDArray[np.float64]:
    """The mean of right / of over classes; a class that does not occur is left out, as scikit-learn does."""
    shares = np.divide(right, of, out=np.zeros_like(of), where=of > 0)
    found: NDArray[np.float64] = shares.sum(-1) / (of > 0).sum(-1)
    return found


# Each takes confusion matrices float64 [..., classes, classes], rows the labels, and returns [...].
CONFUSION_METRICS: dict[str, ConfusionMetric] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
}


def metric_interval(
    labels: Labels,
    probabilities: NDArray[np.floating],
    metric: Callable[[Labels, NDArray[np.floating]], float],
    resamples: int = 1000,
) -> Interval:
    """The 95% percentile interval (Efron 1979) of any metric of one trained model; always the same one.

    It is the chance of the choice of images. Where nearly all of a metric comes from very few images, as the log loss
    of a network that makes hardly a mistake, the interval is too short: resampling knows no worse image than the worst
    one here.

    Args:
        labels: true classes, int64 [N].
        probabilities: float [N, classes].
        metric: (labels, probabilities) -> a number.
    """
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(labels), len(labels)) for _ in range(resamples))
    resampled = [metric(labels[images], probabilities[images]) for images in drawn]
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def models_difference(
    labels: Labels, a: Labels, b: Labels, metric: ConfusionMetric, resamples: int = RESAMPLES
) -> Interval:
    """The 95% percentile interval (Efron 1979) of metric(a) - metric(b) for two trained models.

    Args:
        labels, a, b: true and predicted classes of the same images, int64 [N].
    """
    _, resampled = _values(labels, np.stack([a, b]), metric, resamples)
    low, high = np.quantile(resampled[:, 0] - resampled[:, 1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def recipes_difference(
    labels: Labels,
    winner: Labels,
    baseline: Labels,
    metric: ConfusionMetric,
    priors: tuple[SeedDeviation | None, SeedDeviation | None] = (None, None),
) -> Estimate:
    """The difference in `metric` of two recipes over seeds, its images' part by the bootstrap.

    The percentile interval over seeds and images alike is too short with few seeds; so the bootstrap gives the variance
    of the images only, and the seeds have Student's t as for accuracy. With the metric "accuracy" the result is that of
    results.recipe_comparison.of_accuracies, up to the bootstrap's own chance.

    Args:
        labels: true classes, int64 [N].
        winner, baseline: predicted classes of each seed's network, int64 [S, N]; the numbers of seeds may differ.
        priors: what earlier runs say of the deviation of this metric between seeds.

    Raises:
        ValueError: one seed on a side of which nothing is known from earlier runs.
    """
    observed, resampled = _values(labels, np.concatenate([winner, baseline]), metric, RESAMPLES)
    of_sides = np.split(resampled, [len(winner)], axis=1)
    spread = float((of_sides[0].mean(1) - of_sides[1].mean(1)).var(ddof=1))
    chance = None
    if min(len(winner), len(baseline)) > 1:
        by_chance = [_chance(side) for side in of_sides]
        spread = max(spread - by_chance[0] / len(winner) - by_chance[1] / len(baseline), 0.0)
        chance = sum(by_chance)
    images = ImagesPart(spread, len(labels) - 1, chance)
    return of_values(observed[: len(winner)], observed[len(winner) :], images, priors)


def _chance(resampled: NDArray[np.float64]) -> float:
    """The variance that a single network's answers have beyond what its recipe's networks share, from [R, S]."""
    seeds = int(resampled.shape[1])
    alone, together = float(resampled.var(axis=0, ddof=1).mean()), float(resampled.mean(1).var(ddof=1))
    return max((alone - together) * seeds / (seeds - 1), 0.0)


def _values(
    labels: Labels, predictions: Labels, metric: ConfusionMetric, resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The metric of each network, [S], and on resampled images, [resamples, S], from predictions [S, N]."""
    classes = int(max(labels.max(), predictions.max())) + 1
    counted = list(_confusions(labels, predictions, classes, resamples))
    all_images = np.ones((1, len(labels)))
    return metric(_count(all_images, labels, predictions, classes))[0], np.concatenate(list(map(metric, counted)))


def _confusions(labels: Labels, predictions: Labels, classes: int, resamples: int) -> Iterator[Counts]:
    """Confusion matrices on resampled images, [at most AT_ONCE, S, classes, classes] each; always the same ones."""
    random = np.random.default_rng(0)
    n = len(labels)
    for start in range(0, resamples, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, resamples))
        weights = np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in rows])
        yield _count(weights.astype(np.float64), labels, predictions, classes)


def _count(weights: Counts, labels: Labels, predictions: Labels, classes: int) -> Counts:
    from scipy.sparse import csr_array

    seeds, n = predictions.shape
    cells = labels * classes + predictions
    found = np.empty((len(weights), seeds, classes * classes))
    for seed in range(seeds):
        where = csr_array((np.ones(n), cells[seed], np.arange(n + 1)), shape=(n, classes * classes))
        found[:, seed] = weights @ where
    return found.reshape(len(weights), seeds, classes, classes)
