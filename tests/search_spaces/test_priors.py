import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats

from search_spaces import SPACES, contains, draws
from search_spaces.priors import (
    PRIORS,
    UNIFORM_SHARE,
    ChoicePrior,
    ConditionalPrior,
    LogNormalPrior,
    NormalPrior,
    Prior,
    priors_of,
    with_priors,
)
from study.recipe import BASELINE

NORMAL = NormalPrior(centre=0.3, spread=0.1, source="a test")
LOG_NORMAL = LogNormalPrior(centre=0.03, factor=3, source="a test")
CHOICE = ChoicePrior(weights={"a": 3, "b": 1}, source="a test")

NUMBERS = [
    FloatDistribution(0.0, 1.0),
    FloatDistribution(0.0, 0.1),
    FloatDistribution(1e-3, 1.0, log=True),
    FloatDistribution(0.5, 1.0, log=True),
    FloatDistribution(0.0, 1.0, step=0.25),
    IntDistribution(0, 4),
    IntDistribution(1, 1000, log=True),
    IntDistribution(0, 16, step=4),
    CategoricalDistribution((0.01, 0.1, 1.0)),
]


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("distribution", NUMBERS, ids=str)
@pytest.mark.parametrize("prior", [NORMAL, LOG_NORMAL, NormalPrior(centre=9e9, spread=1e-9, source="far away")])
def test_a_sample_is_always_something_that_the_distribution_can_give(
    prior: Prior, distribution: BaseDistribution
) -> None:
    random = generator()
    for _ in range(300):
        value = prior.sample(distribution, random)
        assert contains(distribution, value)
        assert math.log(UNIFORM_SHARE) <= prior.log_density(distribution, value) < math.inf
    assert contains(distribution, prior.centre_in(distribution))


@pytest.mark.parametrize(
    ("prior", "distribution"),
    [
        (NORMAL, FloatDistribution(0.0, 1.0)),
        (NORMAL, FloatDistribution(0.01, 1.0, log=True)),
        (LOG_NORMAL, FloatDistribution(0.0, 0.1)),
        (LOG_NORMAL, FloatDistribution(1e-3, 1.0, log=True)),
    ],
    ids=str,
)
def test_the_density_of_a_continuum_is_that_of_its_samples(prior: Prior, distribution: FloatDistribution) -> None:
    """Over equal parts of the range, on its own scale, the samples are distributed as the density says."""
    low, high = distribution.low, distribution.high
    unit = (np.arange(20_000) + 0.5) / 20_000
    values = low * (high / low) ** unit if distribution.log else low + (high - low) * unit
    density = np.exp([prior.log_density(distribution, float(value)) for value in values])
    assert density.mean() == pytest.approx(1.0, abs=2e-3)
    random = generator()
    samples = np.array([prior.sample(distribution, random) for _ in range(20_000)])
    positions = np.log(samples / low) / np.log(high / low) if distribution.log else (samples - low) / (high - low)
    seen = np.histogram(positions, bins=10, range=(0, 1))[0] / 20_000
    assert np.abs(seen - density.reshape(10, -1).mean(1) / 10).max() < 0.016


@pytest.mark.parametrize(
    ("prior", "distribution"),
    [
        (NORMAL, FloatDistribution(0.0, 1.0, step=0.25)),
        (NormalPrior(centre=3, spread=1.5, source="a test"), IntDistribution(0, 4)),
        (LogNormalPrior(centre=5, factor=2, source="a test"), IntDistribution(1, 16, log=True)),
        (LogNormalPrior(centre=64, factor=2, source="a test"), CategoricalDistribution((32, 64, 128))),
        (CHOICE, CategoricalDistribution(("a", "b", "c"))),
    ],
    ids=str,
)
def test_the_density_of_a_grid_is_the_frequency_relative_to_a_uniform_draw(
    prior: Prior, distribution: BaseDistribution
) -> None:
    random = generator()
    samples = [prior.sample(distribution, random) for _ in range(20_000)]
    log = isinstance(distribution, IntDistribution) and distribution.log
    total = 0.0
    for value in sorted(set(samples)):
        uniform = 1 / len(set(samples))
        if log:
            uniform = math.log((value + 0.5) / (value - 0.5)) / math.log(16.5 / 0.5)
        expected = uniform * math.exp(prior.log_density(distribution, value))
        total += expected
        assert samples.count(value) / 20_000 == pytest.approx(expected, abs=0.016)
    assert total == pytest.approx(1.0)


def test_a_normal_prior_is_the_truncated_normal_with_a_uniform_share() -> None:
    truncated = stats.truncnorm(-3.0, 2.0, loc=0.3, scale=0.1)
    expected = math.log(UNIFORM_SHARE + (1 - UNIFORM_SHARE) * truncated.pdf(0.25) * 0.5)
    assert NORMAL.log_density(FloatDistribution(0.0, 0.5), 0.25) == pytest.approx(expected)


def test_a_centre_outside_the_range_counts_as_the_nearest_end() -> None:
    distribution = FloatDistribution(0.5, 1.0)
    assert NORMAL.centre_in(distribution) == 0.5
    assert NORMAL.log_density(distribution, 0.5) > NORMAL.log_density(distribution, 0.6) > 0
    assert LOG_NORMAL.log_density(FloatDistribution(0.0, 1.0), 0.0) == pytest.approx(math.log(UNIFORM_SHARE))


def test_a_choice_without_a_weight_has_the_mean_weight() -> None:
    distribution = CategoricalDistribution(("a", "b", "c"))
    ratios = [(math.exp(CHOICE.log_density(distribution, each)) - 0.1) / 0.9 for each in "abc"]
    assert ratios == pytest.approx([1.5, 0.5, 1.0])
    assert CHOICE.centre_in(distribution) == "a"


def test_truth_values_are_not_numbers() -> None:
    prior = ChoicePrior(weights={True: 3, False: 1}, source="a test")
    assert prior.log_density(CategoricalDistribution((0, 1)), 1) == 0.0
    assert prior.log_density(CategoricalDistribution((False, True)), True) > 0


@pytest.mark.parametrize(
    ("prior", "distribution"),
    [
        (NORMAL, CategoricalDistribution(("a", "b"))),
        (CHOICE, FloatDistribution(0.0, 1.0)),
        (CHOICE, CategoricalDistribution(("x", "y"))),
        (ConditionalPrior(by="optimizer", cases={"sgd": NORMAL}), FloatDistribution(0.0, 1.0)),
    ],
)
def test_a_prior_that_says_nothing_is_uniform(prior: Prior, distribution: BaseDistribution) -> None:
    random = generator()
    samples = [prior.sample(distribution, random) for _ in range(2_000)]
    assert {prior.log_density(distribution, value) for value in samples} == {0.0}
    first = [value == samples[0] if isinstance(value, str) else value < 0.5 for value in samples]
    assert np.mean(first) == pytest.approx(0.5, abs=0.04)


def test_a_conditional_prior_follows_what_is_given() -> None:
    distribution = FloatDistribution(1e-4, 1.0, log=True)
    assert PRIORS["lr"].centre_in(distribution, {"optimizer": "sgd"}) == pytest.approx(0.03)
    assert PRIORS["lr"].centre_in(distribution, {"optimizer": "adamw"}) == pytest.approx(1e-3)
    assert PRIORS["lr"].centre_in(distribution) == pytest.approx(1e-2)


def test_the_density_of_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"2\.0 is not in 0 to 1"):
        NORMAL.log_density(FloatDistribution(0.0, 1.0), 2.0)


def test_every_prior_is_for_a_recipe_field_and_names_its_source() -> None:
    assert set(PRIORS) <= set(BASELINE.as_dict())
    for prior in PRIORS.values():
        assert prior.source
        assert prior.in_words()


@pytest.mark.parametrize("name", SPACES)
def test_priors_can_be_sampled_and_weighed_for_every_draw_of_every_space(name: str) -> None:
    priors, random = priors_of(SPACES[name]), generator()
    for each in draws(SPACES[name], 40):
        given = BASELINE.as_dict() | each.fields
        for param, distribution in each.distributions.items():
            if param in priors:
                value: Any = priors[param].sample(distribution, random, given)
                assert contains(distribution, value)
                assert math.isfinite(priors[param].log_density(distribution, value, given))


def test_a_space_s_own_priors_take_the_place_of_the_general_ones() -> None:
    @with_priors(lr=NORMAL)
    def space(trial: Any) -> dict[str, Any]:
        return {"lr": trial.suggest_float("lr", 0.1, 1.0)}

    assert priors_of(space) == {**PRIORS, "lr": NORMAL}
    assert priors_of(with_priors(momentum=NORMAL)(space)) == {**PRIORS, "lr": NORMAL, "momentum": NORMAL}
    assert priors_of(space) == {**PRIORS, "lr": NORMAL}
    assert priors_of(lambda trial: {}) == PRIORS
    space.priors = {"lr": 3}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="allowed: a dict, name -> Prior"):
        priors_of(space)
