"""The statistics of the evidence, on tables where the answer is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from results.evidence import _weighted_spearman


def series(values: list[float]) -> "pd.Series[float]":
    return pd.Series(values, dtype="float64")


@pytest.mark.parametrize("seed", range(5))
def test_with_equal_weights_the_rank_correlation_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    one = random.integers(0, 8, 30).astype(float)  # with ties
    other = one + random.normal(0, 3, 30)
    found = _weighted_spearman(series(one.tolist()), series(other.tolist()), series([1.0] * 30))
    assert found == pytest.approx(spearmanr(one, other).statistic)


def test_a_weight_of_three_is_the_trial_three_times() -> None:
    one, other, weights = [0.1, 0.5, 0.3, 0.9], [0.2, 0.4, 0.6, 0.8], [1, 3, 1, 2]
    repeated = [i for i, weight in enumerate(weights) for _ in range(weight)]
    expected = spearmanr([one[i] for i in repeated], [other[i] for i in repeated]).statistic
    assert _weighted_spearman(series(one), series(other), series(list(map(float, weights)))) == pytest.approx(expected)


def test_two_trials_or_a_constant_have_no_rank_correlation() -> None:
    assert math.isnan(_weighted_spearman(series([0.1, 0.2]), series([0.1, 0.2]), series([1.0, 1.0])))
    assert math.isnan(_weighted_spearman(series([0.1] * 4), series([0.1, 0.2, 0.3, 0.4]), series([1.0] * 4)))
