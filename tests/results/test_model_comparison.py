"""Two models on the same images, against statsmodels, published examples and a brute-force likelihood."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import proportion_confint

from results.model_comparison import mcnemar, paired_difference, wilson


def answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_wilsons_interval_is_statsmodels() -> None:
    found = wilson(812, 1000)
    assert (found.low, found.high) == pytest.approx(proportion_confint(812, 1000, method="wilson"))


def test_mcnemar_is_statsmodels_test_without_continuity_correction() -> None:
    random = np.random.default_rng(0)
    a, b = random.random(500) < 0.8, random.random(500) < 0.75
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert mcnemar(a, b).p_value == pytest.approx(reference_mcnemar(table, exact=False, correction=False).pvalue)


@pytest.mark.parametrize(
    ("table", "expected"),
    [((1, 1, 7, 12), (-0.517, -0.026)), ((59, 6, 16, 80), (-0.124, -0.005))],
    ids=["airway hyper-responsiveness", "complete response"],
)
def test_the_paired_interval_is_tangos_in_published_examples(
    table: tuple[int, int, int, int], expected: tuple[float, float]
) -> None:
    # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8.
    found = paired_difference(*answers(*table))
    assert (found.low, found.high) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("table", [(30, 9, 4, 7), (10, 5, 0, 5), (100, 20, 3, 77), (5, 0, 0, 5)])
def test_at_the_intervals_ends_the_score_with_the_likeliest_table_is_the_normal_quantile(
    table: tuple[int, int, int, int],
) -> None:
    _, only_a, only_b, _ = table
    n = sum(table)
    interval = paired_difference(*answers(*table))
    for difference in (interval.low, interval.high):
        # The likeliest probability of "only b" where "only a" is `difference` more, found by search.
        def loss(only: float, difference: float = difference) -> float:
            cells = [only + difference, only, 1 - 2 * only - difference]
            counts = [only_a, only_b, n - only_a - only_b]
            return -sum(count * math.log(max(cell, 1e-300)) for count, cell in zip(counts, cells, strict=True) if count)

        low, high = max(0.0, -difference), (1 - difference) / 2
        likeliest = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        variance = (2 * likeliest + difference - difference**2) / n
        score = ((only_a - only_b) / n - difference) / variance**0.5
        assert abs(score) == pytest.approx(1.96, abs=0.002)


def test_mcnemar_and_the_interval_never_disagree_about_zero() -> None:
    random = np.random.default_rng(0)
    decided = 0
    for _ in range(1000):
        n = int(random.integers(5, 300))
        a, b = random.random(n) < 0.7, random.random(n) < random.uniform(0.5, 0.7)
        significant = mcnemar(a, b).p_value < 0.05
        assert paired_difference(a, b).excludes_zero == significant
        decided += significant
    assert 100 < decided < 900


def test_the_paired_interval_covers_the_true_difference_in_95_percent_of_test_sets() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        a, b = answers(*random.multinomial(400, [0.55, 0.2, 0.06, 0.19]))
        interval = paired_difference(a, b)
        inside += interval.low <= 0.14 <= interval.high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_models_that_agree_on_every_image_do_not_differ() -> None:
    same = np.ones(100, bool)
    assert mcnemar(same, same).p_value == 1.0
    assert not paired_difference(same, same).excludes_zero


def test_models_that_agree_on_no_image_have_an_interval_that_ends_at_one() -> None:
    right = np.ones(20, bool)
    assert paired_difference(right, ~right).high == 1.0
    assert paired_difference(~right, right).low == -1.0
