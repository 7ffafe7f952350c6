"""Metrics that are no mean over images, against scikit-learn, SciPy's bootstrap and the analytic parts for accuracy."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from results.bootstrap import CONFUSION_METRICS, models_difference, recipes_difference
from results.recipe_comparison import of_accuracies

Classes = NDArray[np.int64]


def answered(labels: Classes, share: float, seed: int, classes: int = 4) -> Classes:
    """Predictions of which this share is right beyond guessing."""
    random = np.random.default_rng(seed)
    guesses = random.integers(0, classes, len(labels))
    return np.where(random.random(len(labels)) < share, labels, guesses)


def unbalanced(n: int) -> Classes:
    return np.random.default_rng(9).choice(4, n, p=[0.6, 0.2, 0.15, 0.05])


@pytest.mark.parametrize("classes", [4, 5])  # with 5 the last class occurs nowhere
def test_metrics_of_a_confusion_matrix_are_scikit_learns(classes: int) -> None:
    labels = unbalanced(300)
    predicted = answered(labels, 0.5, 0)
    confusion = confusion_matrix(labels, predicted, labels=range(classes)).astype(float)
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro"),
    }
    assert {name: float(metric(confusion)) for name, metric in CONFUSION_METRICS.items()} == pytest.approx(expected)


def test_the_interval_of_two_models_is_scipys_paired_bootstrap() -> None:
    labels = unbalanced(400)
    a, b = answered(labels, 0.7, 1), answered(labels, 0.5, 2)

    def difference(labels: Classes, a: Classes, b: Classes) -> float:
        return float(balanced_accuracy_score(labels, a) - balanced_accuracy_score(labels, b))

    reference = bootstrap(
        (labels, a, b), difference, paired=True, vectorized=False, n_resamples=1000, method="percentile", rng=1
    ).confidence_interval
    found = models_difference(labels, a, b, CONFUSION_METRICS["balanced_accuracy"])
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.015)


def test_for_accuracy_the_bootstrap_finds_the_parts_that_are_known_exactly() -> None:
    labels = unbalanced(1000)
    winner = np.stack([answered(labels, 0.7, seed) for seed in range(4)])
    baseline = np.stack([answered(labels, 0.5, seed) for seed in range(4, 7)])
    baseline[:, :100] = labels[:100]  # images that only one recipe always can do: other images would hold more or fewer
    found = recipes_difference(labels, winner, baseline, CONFUSION_METRICS["accuracy"])
    exact = of_accuracies(winner == labels, baseline == labels)
    assert found.difference == pytest.approx(exact.difference)
    assert found.one_pair == pytest.approx(exact.one_pair)
    assert found.images.chance == pytest.approx(exact.images.chance, rel=0.1)
    assert found.images.variance == pytest.approx(exact.images.variance, rel=0.3)
    assert found.interval().low == pytest.approx(exact.interval().low, abs=0.003)


def test_the_same_data_give_the_same_interval() -> None:
    labels = unbalanced(200)
    a, b = answered(labels, 0.7, 1), answered(labels, 0.5, 2)
    metric = CONFUSION_METRICS["macro_f1"]
    assert models_difference(labels, a, b, metric) == models_difference(labels, a, b, metric)


def test_one_seed_of_which_nothing_is_known_says_nothing_about_recipes() -> None:
    labels = unbalanced(100)
    one = answered(labels, 0.5, 0)[None]
    with pytest.raises(ValueError, match="one seed says nothing"):
        recipes_difference(labels, one, one, CONFUSION_METRICS["macro_f1"])
