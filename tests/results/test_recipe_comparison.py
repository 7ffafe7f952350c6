"""The difference of two recipes over seeds and images, against SciPy and simulated studies whose truth is known."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import nct, norm, ttest_ind, ttest_rel
from statsmodels.stats.power import TTestIndPower

from benchmarks.coverage import CHANCE, IMAGES, Cell, accuracies, own_low, pooled_low, shares
from results.recipe_comparison import ImagesPart, of_accuracies, of_values
from results.seed_deviation import SeedDeviation

NO_IMAGES = ImagesPart(0.0, 1e9, 0.0)
WINNER, BASELINE = np.array([0.80, 0.83, 0.78, 0.81]), np.array([0.70, 0.72, 0.71])


def values(random: np.random.Generator, mean: float, deviation: float, seeds: int) -> NDArray[np.float64]:
    return random.normal(mean, deviation, seeds)


def networks(random: np.random.Generator, mean: float, deviation: float, shape: tuple[int, int]) -> Any:
    """Which images each seed's network gets right, where images are all alike."""
    return random.random(shape) < random.normal(mean, deviation, shape[0])[:, None]


def test_without_chance_in_the_images_the_interval_is_scipys_welch() -> None:
    estimate = of_values(WINNER, BASELINE, NO_IMAGES)
    reference = ttest_ind(WINNER, BASELINE, equal_var=False)
    expected = reference.confidence_interval(0.95)
    assert estimate.method == "welch"
    assert (estimate.interval().low, estimate.interval().high) == pytest.approx((expected.low, expected.high))
    assert estimate.p_value() == pytest.approx(reference.pvalue)


def test_seeds_that_move_both_sides_alike_are_paired_and_the_interval_is_scipys_paired_t() -> None:
    moves = np.array([-0.05, 0.0, 0.05, 0.02, -0.03, 0.01])
    winner = 0.75 + moves + np.array([0.001, -0.002, 0.0, 0.002, 0.001, -0.001])
    estimate = of_values(winner, 0.72 + moves, NO_IMAGES)
    expected = ttest_rel(winner, 0.72 + moves).confidence_interval(0.95)
    assert estimate.method == "paired by seed"
    assert (estimate.interval().low, estimate.interval().high) == pytest.approx((expected.low, expected.high))


def test_seeds_are_not_paired_where_they_are_few_or_do_not_move_together() -> None:
    moves = np.array([-0.05, 0.0, 0.05, 0.02, -0.03, 0.01])
    assert of_values(0.75 + moves[:4], 0.72 + moves[:4], NO_IMAGES).method == "welch"
    assert of_values(0.75 + moves, 0.72 - moves, NO_IMAGES).method == "welch"


def test_one_seed_each_with_the_deviation_of_earlier_runs_is_a_t_interval_with_their_freedom() -> None:
    prior = SeedDeviation(0.01, 7, 4)
    interval = of_values(np.array([0.8]), np.array([0.7]), NO_IMAGES, (prior, prior)).interval()
    half = 2.364624 * 0.01 * 2**0.5  # the 97.5% quantile of Student's t with 7 degrees of freedom
    assert (interval.low, interval.high) == pytest.approx((0.1 - half, 0.1 + half))


def test_an_earlier_deviation_of_no_freedom_leaves_the_pooled_t_test_and_of_much_freedom_replaces_it() -> None:
    expected = ttest_ind(WINNER, BASELINE, equal_var=True).confidence_interval(0.95)
    nothing, much = SeedDeviation(9.0, 0, 0), SeedDeviation(0.02, 10**9, 9)
    found = of_values(WINNER, BASELINE, NO_IMAGES, (nothing, nothing)).interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    known = of_values(WINNER, BASELINE, NO_IMAGES, (much, much)).interval()
    half = norm.ppf(0.975) * 0.02 * (1 / 4 + 1 / 3) ** 0.5
    assert known.high - known.low == pytest.approx(2 * half, rel=1e-6)


def test_sides_of_other_families_keep_their_own_deviations() -> None:
    estimate = of_values(
        np.array([0.8]), np.array([0.7]), NO_IMAGES, (SeedDeviation(0.01, 7, 4), SeedDeviation(0.03, 4, 2))
    )
    assert estimate.of_seeds == pytest.approx(0.01**2 + 0.03**2)
    assert estimate.freedom == pytest.approx((0.01**2 + 0.03**2) ** 2 / (0.01**4 / 7 + 0.03**4 / 4))


def test_from_five_seeds_on_the_seeds_speak_for_themselves() -> None:
    random = np.random.default_rng(0)
    winner, baseline = values(random, 0.8, 0.01, 5), values(random, 0.7, 0.01, 5)
    prior = SeedDeviation(0.5, 10, 4)
    assert of_values(winner, baseline, NO_IMAGES, (prior, prior)) == of_values(winner, baseline, NO_IMAGES)


def test_one_seed_of_which_nothing_is_known_says_nothing_about_recipes() -> None:
    with pytest.raises(ValueError, match="one seed says nothing about a recipe"):
        of_values(np.array([0.8]), BASELINE, NO_IMAGES)


def test_one_image_is_no_test_set() -> None:
    with pytest.raises(ValueError, match="at least 2 test images"):
        of_accuracies(np.ones((2, 1), bool), np.ones((2, 1), bool))


def test_the_parts_of_the_variance_are_those_of_the_simulation() -> None:
    random = np.random.default_rng(0)
    # Every network answers each image by chance, p = 0.8 or 0.7: images are all alike, so that they add nothing.
    found = [
        of_accuracies(networks(random, 0.8, 0.02, (4, 1000)), networks(random, 0.7, 0.01, (4, 1000)))
        for _ in range(400)
    ]
    by_chance = 0.8 * 0.2 / 1000 + 0.7 * 0.3 / 1000
    assert np.mean([each.images.chance for each in found]) == pytest.approx(by_chance, rel=0.02)
    assert np.mean([each.one_pair for each in found]) == pytest.approx(0.02**2 + 0.01**2 + by_chance, rel=0.1)
    spread = np.var([each.difference for each in found])
    assert np.mean([each.of_seeds + each.images.variance for each in found]) == pytest.approx(spread, rel=0.2)


def test_the_probability_on_a_new_seed_is_right_and_its_interval_is_the_noncentral_ts() -> None:
    random = np.random.default_rng(1)
    winner, baseline = values(random, 0.715, 0.02, 8), values(random, 0.70, 0.01, 8)
    estimate = of_values(winner, baseline, NO_IMAGES)
    here, anywhere = estimate.probability_of_winning()
    # mean / deviation has the noncentral t distribution; the ends are where it puts 2.5% beyond what was seen.
    scale = (estimate.of_seeds / estimate.one_pair) ** 0.5
    seen = estimate.difference / estimate.of_seeds**0.5
    grid = np.linspace(-3, 6, 20001)
    below = nct.cdf(seen, estimate.freedom, grid / scale)
    low, high = norm.cdf(grid[np.abs(below - 0.975).argmin()]), norm.cdf(grid[np.abs(below - 0.025).argmin()])
    assert (here.low, here.high) == pytest.approx((low, high), abs=0.01)
    assert here.value == pytest.approx(norm.cdf(estimate.difference / estimate.one_pair**0.5))
    assert anywhere is not None
    assert anywhere.value == pytest.approx(here.value)


def test_the_interval_of_the_probability_covers_the_truth_in_95_percent_of_studies() -> None:
    random = np.random.default_rng(2)
    truth = norm.cdf(0.01 / (0.01 * 2**0.5))
    inside = 0
    for _ in range(400):
        estimate = of_values(values(random, 0.71, 0.01, 4), values(random, 0.70, 0.01, 4), NO_IMAGES)
        found = estimate.probability_of_winning()[0]
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 400 <= 0.99


def test_with_the_test_images_chance_taken_out_the_better_recipe_wins_more_often() -> None:
    random = np.random.default_rng(0)
    estimate = of_accuracies(networks(random, 0.72, 0.001, (8, 1000)), networks(random, 0.70, 0.001, (8, 1000)))
    here, anywhere = estimate.probability_of_winning()
    assert anywhere is not None
    assert 0.5 < here.value < anywhere.value


def test_the_seeds_needed_find_the_difference_in_90_percent_of_studies() -> None:
    random = np.random.default_rng(0)
    pilot = of_values(values(random, 0.71, 0.01, 200), values(random, 0.70, 0.01, 200), NO_IMAGES)
    seeds = pilot.seeds_needed(0.01)
    assert seeds is not None
    found = [
        of_values(values(random, 0.71, 0.01, seeds), values(random, 0.70, 0.01, seeds), NO_IMAGES).interval().low > 0
        for _ in range(1000)
    ]
    assert np.mean(found) == pytest.approx(0.9, abs=0.04)


@pytest.mark.parametrize("difference", [0.005, 0.01, 0.02])
def test_the_seeds_needed_are_statsmodels_where_images_add_nothing(difference: float) -> None:
    one_point = 0.01 * np.array([-1, 1, -1, 1]) * 0.75**0.5
    pilot = of_values(0.71 + one_point, 0.70 + one_point, NO_IMAGES)
    expected = TTestIndPower().solve_power(difference / 0.01, power=0.9, alpha=0.05)
    assert pilot.seeds_needed(difference) == math.ceil(expected)


def test_no_number_of_seeds_finds_what_the_test_images_hide() -> None:
    few = ImagesPart(0.01**2, 1e9, 0.0)
    random = np.random.default_rng(0)
    estimate = of_values(values(random, 0.71, 0.01, 5), values(random, 0.70, 0.01, 5), few)
    assert estimate.seeds_needed(0.01) is None
    assert estimate.seeds_needed(0.04) is not None


CELLS = [Cell(0.3, 2), Cell(1.0, 2, unequal=True), Cell(2.0, 3), Cell(1.0, 5, correlated=True), Cell(0.1, 10)]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_equal_recipes_are_called_better_in_at_most_5_percent_of_studies(cell: Cell) -> None:
    found = shares(cell, 5000)
    assert max(found["own"], found["pooled"]) <= 0.05


def test_one_seed_with_the_deviation_of_earlier_runs_is_rarely_wrong_where_mcnemar_often_is() -> None:
    found = shares(Cell(1.0, 1), 5000)
    assert found["pooled"] <= 0.05
    assert found["McNemar"] > 0.2


def test_two_points_are_found_with_two_seeds_where_earlier_runs_know_the_deviation() -> None:
    found = shares(Cell(0.3, 2), 2000, 2.0)
    assert found["pooled"] > 0.9 > found["own"]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_simulated_intervals_are_those_of_the_verdict(cell: Cell) -> None:
    winner, baseline = accuracies(cell, 50, 0.0, np.random.default_rng(0))
    images = ImagesPart(IMAGES, 1e9, 2 * CHANCE)
    expected = [of_values(one, other, images).interval().low for one, other in zip(winner, baseline, strict=True)]
    assert own_low(winner, baseline) == pytest.approx(expected)
    if cell.seeds < 5:
        prior = SeedDeviation(0.7, 7, 4)
        pooled = [
            of_values(one, other, images, (prior, prior)).interval().low
            for one, other in zip(winner, baseline, strict=True)
        ]
        assert pooled_low(winner, baseline, np.full(50, 0.49)) == pytest.approx(pooled)


def test_on_images_equal_recipes_are_rarely_called_better_as_well() -> None:
    random = np.random.default_rng(0)
    better = 0
    for _ in range(200):
        difficulty = random.normal(0, 1, 1000)
        # Skill moves with the seed; an image is right where skill exceeds its difficulty and a chance of its own.
        winner, baseline = (
            random.normal(0.95, 0.04, (3, 1)) > difficulty + random.normal(0, 1, (3, 1000)) for _ in range(2)
        )
        better += of_accuracies(winner, baseline).interval().low > 0
    assert better <= 17  # 5% are 10; more than 17 have a chance of 1% there
