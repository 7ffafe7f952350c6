"""How often is the verdict wrong, and how often does it find 2 points? Simulated studies whose truth is known.

    python -m benchmarks.coverage --studies 2000
    python -m benchmarks.coverage --studies 2000 --seeds 2 3 --deviations 1.0

Each study has 10,000 test images of unequal difficulty, the same for both recipes, and seeds that move a recipe's true
accuracy by the deviation of its row. A network gets an image right where its skill exceeds the image's difficulty plus
a chance of its own, half of the variance each, so that two networks agree on most images. Unequal: the baseline's
deviation is a third of the winner's. Correlated: the same seed moves both sides, with correlation 0.7.

Intervals (all 95%, two-sided, so that a false "better" is due in 2.5%): `own` is the study's own seeds (Welch, and
paired by seed where the seeds move together from 5 seeds on); `pooled` adds the deviation of earlier runs with 7
degrees of freedom where there are fewer than 5 seeds, as the verdict does; `half` is the same where the earlier runs'
true deviation was half of this study's; `bootstrap` is the percentile interval over seeds and images; `McNemar` is the
claim about the first seed's two models, read as one about recipes.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from results.paired import SIGNIFICANCE, mcnemar
from results.recipes import FEW_SEEDS, images_part, of_values
from results.seed_deviation import SeedDeviation

IMAGES = 10_000
ACCURACY = 0.75
CORRELATION = 0.7
UNEQUAL = 1 / 3
PRIOR_FREEDOM = 7
RESAMPLES = 1000
DEVIATIONS = (0.1, 0.3, 1.0, 2.0)
SEEDS = (1, 2, 3, 5, 10)
METHODS = ("own", "pooled", "half", "bootstrap", "McNemar")

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One kind of study: the winner's deviation of true accuracy between seeds in points, and the seeds a side."""

    deviation: float
    seeds: int
    correlated: bool = False
    unequal: bool = False

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Of winner and baseline, fractions."""
        return self.deviation / 100 * np.array([1.0, UNEQUAL if self.unequal else 1.0])


def shares(cell: Cell, studies: int, difference: float = 0.0) -> dict[str, float]:
    """How often each method says "better", by name, over `studies` studies with this true difference, a fraction.

    A method that cannot speak of such a study has NaN.
    """
    random = np.random.default_rng(1)
    said = [_better(cell, winner, baseline, random) for winner, baseline in _studies(cell, studies, difference, random)]
    return {method: float(np.mean([each[method] for each in said])) for method in METHODS}


def _studies(
    cell: Cell, studies: int, difference: float, random: np.random.Generator
) -> Iterator[tuple[Correct, Correct]]:
    """Winner and baseline of each study: which images each seed's network gets right, bool [S, n]."""
    correlation = CORRELATION if cell.correlated else 0.0
    for _ in range(studies):
        winner, other = random.standard_normal((2, cell.seeds))
        moves = np.stack([winner, correlation * winner + (1 - correlation**2) ** 0.5 * other])
        means = ACCURACY + np.array([[difference], [0.0]]) + moves * cell.deviations[:, None]
        # Difficulty and chance have variance 1 each: E[correct] = Phi(skill / sqrt(2)).
        skill = norm.ppf(np.clip(means, 0.01, 0.99)).astype(np.float32) * np.float32(2**0.5)
        hurdle = random.standard_normal((2, cell.seeds, IMAGES), np.float32)
        hurdle += random.standard_normal(IMAGES, np.float32)
        correct = skill[:, :, None] > hurdle
        yield correct[0], correct[1]


def _better(cell: Cell, winner: Correct, baseline: Correct, random: np.random.Generator) -> dict[str, float]:
    images = images_part(winner, baseline)
    values = winner.mean(1), baseline.mean(1)
    one_seed = cell.seeds == 1
    said = {"own": np.nan if one_seed else of_values(*values, images).interval().low > 0}
    for name, ratio in (("pooled", 1.0), ("half", 0.5)):
        prior = _earlier_runs(cell, ratio, random)
        # With enough seeds of their own, studies do not use earlier runs.
        enough = cell.seeds >= FEW_SEEDS
        said[name] = said["own"] if enough else of_values(*values, images, (prior, prior)).interval().low > 0
    test = mcnemar(winner[0], baseline[0])
    said["bootstrap"] = np.nan if one_seed else _bootstrap_low(winner, baseline, random) > 0
    said["McNemar"] = test.p_value < SIGNIFICANCE and test.only_a > test.only_b
    return said


def _earlier_runs(cell: Cell, ratio: float, random: np.random.Generator) -> SeedDeviation:
    """Earlier runs whose true deviation was `ratio` times this study's, measured by a few seeds."""
    variance = float(np.mean(cell.deviations**2)) + CHANCE_OF_IMAGES
    measured = ratio * (variance * random.chisquare(PRIOR_FREEDOM) / PRIOR_FREEDOM) ** 0.5
    return SeedDeviation(measured, PRIOR_FREEDOM, recipes=4)


def _chance_of_images() -> float:
    """What finite images add to the variance between seeds of a measured accuracy: the mean of p (1 - p) over n."""
    difficulty = norm.ppf((np.arange(IMAGES) + 0.5) / IMAGES)
    right = norm.cdf(norm.ppf(ACCURACY) * 2**0.5 - difficulty)
    return float((right * (1 - right)).mean()) / IMAGES


CHANCE_OF_IMAGES = _chance_of_images()


def _bootstrap_low(winner: Correct, baseline: Correct, random: np.random.Generator) -> float:
    """The lower end of the percentile interval over resampled seeds, on each side, and resampled images.

    With 10,000 images a resampling of images moves all seeds' accuracies as one normal vector, and is drawn as that.
    """
    both = np.concatenate([winner, baseline]).astype(np.float32)
    moved = random.multivariate_normal(both.mean(1), np.cov(both) / IMAGES, RESAMPLES, check_valid="ignore")
    seeds = len(winner)
    drawn = random.integers(0, seeds, (2, RESAMPLES, seeds))
    means = [np.take_along_axis(moved, drawn[side] + side * seeds, axis=1).mean(1) for side in (0, 1)]
    return float(np.quantile(means[0] - means[1], 0.025))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=1000, help="in each cell")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N", help="seeds a side")
    parser.add_argument("--deviations", type=float, nargs="+", default=DEVIATIONS, metavar="POINTS")
    arguments = parser.parse_args()
    table = Table("deviation", "seeds", "correlated", "unequal", *(f"false: {each}" for each in METHODS), box=None)
    for method in ("own", "pooled", "bootstrap"):
        table.add_column(f"2 points: {method}")
    worst = dict.fromkeys(METHODS, 0.0)
    kinds = itertools.product(arguments.deviations, arguments.seeds, (False, True), (False, True))
    for cell in itertools.starmap(Cell, kinds):
        false, found = shares(cell, arguments.studies), shares(cell, arguments.studies, 0.02)
        worst = {method: float(np.nanmax([worst[method], false[method]])) for method in METHODS}
        said = ["yes" if each else "no" for each in (cell.correlated, cell.unequal)]
        percentages = [false[method] for method in METHODS] + [found[each] for each in ("own", "pooled", "bootstrap")]
        cells = ["" if np.isnan(share) else f"{share:.1%}" for share in percentages]
        table.add_row(f"{cell.deviation:.1f}", str(cell.seeds), *said, *cells)
    console = Console(width=200)
    console.print(table)
    console.print("Largest false: " + ", ".join(f"{method} {share:.1%}" for method, share in worst.items()))


if __name__ == "__main__":
    main()
