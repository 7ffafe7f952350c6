"""How often is the verdict wrong, and how often does it find 2 points? Simulated studies whose truth is known.

    python -m benchmarks.coverage

Each study has S seeds a side, which move a recipe's accuracy by the deviation of its row. A measured accuracy moves by
0.32 points more, by the chance of a single network's answers on 10,000 images (two networks of one recipe disagree on
20% of them), and the difference of two recipes by 0.22 points, because each is good at other images. The seeds'
accuracies are simulated, not the images. Unequal: the baseline's deviation is a third of the winner's. Correlated: the
same seed moves both sides, with correlation 0.7.

Intervals (all 95%, two-sided, so that a false "better" is due in 2.5%): `own` is the study's own seeds (Welch, and
paired by seed where the seeds move together from 5 seeds on); `pooled` adds the deviation of earlier runs with 7
degrees of freedom where there are fewer than 5 seeds, as the verdict does; `half` is the same where the earlier runs'
true deviation was half of this study's; `bootstrap` is the percentile interval over seeds and images; `McNemar` is the
claim about the first seed's two models, read as one about recipes.
"""

import argparse
import itertools
import platform
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import norm, t

from results.recipe_comparison import FEW_SEEDS

# Variances in squared points: of one network's answers by chance, and of a difference by the choice of images.
CHANCE, IMAGES = 0.1, 0.05
CORRELATION = 0.7
UNEQUAL = 1 / 3
PRIOR_FREEDOM = 7
RESAMPLES = 300
BOOTSTRAPPED = 1000
DEVIATIONS = (0.1, 0.3, 1.0, 2.0)
SEEDS = (1, 2, 3, 5, 10)
METHODS = ("own", "pooled", "half", "bootstrap", "McNemar")

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One kind of study: the winner's deviation of accuracy between seeds in points, and the seeds a side."""

    deviation: float
    seeds: int
    correlated: bool = False
    unequal: bool = False

    @property
    def variances(self) -> tuple[float, float]:
        """Of a measured accuracy of winner and baseline between seeds, squared points."""
        other = self.deviation * (UNEQUAL if self.unequal else 1.0)
        return self.deviation**2 + CHANCE, other**2 + CHANCE


def shares(cell: Cell, studies: int, difference: float = 0.0) -> dict[str, float]:
    """How often each method says "better", by name, over `studies` studies with this true difference in points.

    A method that cannot speak of such a study has NaN.
    """
    random = np.random.default_rng(1)
    winner, baseline = accuracies(cell, studies, difference, random)
    found = dict.fromkeys(METHODS, np.nan)
    found["McNemar"] = float((winner[:, 0] - baseline[:, 0] > norm.ppf(0.975) * (2 * CHANCE + IMAGES) ** 0.5).mean())
    if cell.seeds > 1:
        found["own"] = float((own_low(winner, baseline) > 0).mean())
        few = slice(BOOTSTRAPPED)
        found["bootstrap"] = float((_bootstrap_low(winner[few], baseline[few], random) > 0).mean())
    for name, ratio in (("pooled", 1.0), ("half", 0.5)):
        # With enough seeds of their own, studies do not use earlier runs.
        if cell.seeds >= FEW_SEEDS:
            found[name] = found["own"]
            continue
        measured = ratio**2 * np.mean(cell.variances) * random.chisquare(PRIOR_FREEDOM, studies) / PRIOR_FREEDOM
        found[name] = float((pooled_low(winner, baseline, measured) > 0).mean())
    return found


def accuracies(cell: Cell, studies: int, difference: float, random: np.random.Generator) -> tuple[Points, Points]:
    """Measured accuracies of winner and baseline less the baseline's true one, in points, [studies, seeds] each."""
    correlation = CORRELATION if cell.correlated else 0.0
    moves, others, *chance = random.standard_normal((4, studies, cell.seeds))
    both = moves, correlation * moves + (1 - correlation**2) ** 0.5 * others
    winner, baseline = (
        (variance - CHANCE) ** 0.5 * move + CHANCE**0.5 * each
        for variance, move, each in zip(cell.variances, both, chance, strict=True)
    )
    of_images = IMAGES**0.5 * random.standard_normal((studies, 1))
    return winner + difference + of_images, baseline


def own_low(winner: Points, baseline: Points) -> Points:
    """The lower end of recipe_comparison.of_values' interval, for many studies at once; a test compares them."""
    seeds = winner.shape[1]
    parts = winner.var(axis=1, ddof=1) / seeds, baseline.var(axis=1, ddof=1) / seeds
    spread = parts[0] + parts[1]
    weighed = (parts[0] ** 2 + parts[1] ** 2) / (seeds - 1)
    if seeds >= FEW_SEEDS:
        centred = winner - winner.mean(1, keepdims=True), baseline - baseline.mean(1, keepdims=True)
        correlation = (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
        together = t.sf(correlation * np.sqrt((seeds - 2) / (1 - correlation**2)), seeds - 2) < 0.05
        paired = (winner - baseline).var(axis=1, ddof=1) / seeds
        spread, weighed = np.where(together, paired, spread), np.where(together, paired**2 / (seeds - 1), weighed)
    return _low(winner, baseline, spread + IMAGES, weighed)


def pooled_low(winner: Points, baseline: Points, earlier: Points) -> Points:
    """The same with the variance of earlier runs, [studies], pooled with both sides' own."""
    seeds = winner.shape[1]
    freedom = PRIOR_FREEDOM + 2 * (seeds - 1)
    squares = sum(((side - side.mean(1, keepdims=True)) ** 2).sum(1) for side in (winner, baseline))
    spread = (PRIOR_FREEDOM * earlier + squares) / freedom * 2 / seeds
    # One seed cannot tell the chance of a network's answers from the images; it then counts twice.
    of_images = IMAGES + (2 * CHANCE if seeds == 1 else 0.0)
    return _low(winner, baseline, spread + of_images, spread**2 / freedom)


def _low(winner: Points, baseline: Points, variance: Points, weighed: Points) -> Points:
    half: Points = t.ppf(0.975, variance**2 / weighed) * np.sqrt(variance)
    return winner.mean(1) - baseline.mean(1) - half


def _bootstrap_low(winner: Points, baseline: Points, random: np.random.Generator) -> Points:
    """The lower end of the percentile interval over resampled seeds, on each side, and resampled images."""
    studies, seeds = winner.shape
    moved = np.zeros((studies, RESAMPLES))
    variance = np.full((studies, RESAMPLES), IMAGES)
    for sign, side in ((1, winner), (-1, baseline)):
        drawn = random.multinomial(seeds, [1 / seeds] * seeds, (studies, RESAMPLES)) / seeds
        moved += sign * np.einsum("ijk,ik->ij", drawn, side)
        # A network that is drawn twice brings its chance twice.
        variance += CHANCE * (drawn**2).sum(2)
    moved += np.sqrt(variance) * random.standard_normal((studies, RESAMPLES))
    low: Points = np.quantile(moved, 0.025, axis=1)
    return low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=20_000, help="in each cell")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N", help="seeds a side")
    parser.add_argument("--deviations", type=float, nargs="+", default=DEVIATIONS, metavar="POINTS")
    arguments = parser.parse_args()
    table = Table("deviation", "seeds", "correlated", "unequal", *(f"false: {each}" for each in METHODS), box=None)
    for method in ("own", "pooled", "bootstrap"):
        table.add_column(f"2 points: {method}")
    worst = dict.fromkeys(METHODS, 0.0)
    kinds = itertools.product(arguments.deviations, arguments.seeds, (False, True), (False, True))
    for cell in itertools.starmap(Cell, kinds):
        false, found = shares(cell, arguments.studies), shares(cell, arguments.studies, 2.0)
        worst = {method: float(np.nanmax([worst[method], false[method]])) for method in METHODS}
        said = ["yes" if each else "no" for each in (cell.correlated, cell.unequal)]
        percentages = [false[method] for method in METHODS] + [found[each] for each in ("own", "pooled", "bootstrap")]
        cells = ["" if np.isnan(share) else f"{share:.1%}" for share in percentages]
        table.add_row(f"{cell.deviation:.1f}", str(cell.seeds), *said, *cells)
    console = Console(width=200)
    console.print(table)
    console.print("Largest false: " + ", ".join(f"{method} {share:.1%}" for method, share in worst.items()))
    console.print(
        f"{arguments.studies:,} studies a cell ({min(BOOTSTRAPPED, arguments.studies):,} for the bootstrap), Python "
        f"{platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    )


if __name__ == "__main__":
    main()
