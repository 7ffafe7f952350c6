"""How often is the verdict wrong? Simulated studies in which the truth is known.

    python -m benchmarks.verdict_errors --studies 1000

Each study has 10,000 test images of unequal difficulty, the same for both recipes, and seeds that move a recipe's
accuracy by --deviation points (standard deviation; 0.3 unless told). A model gets an image right where its skill
exceeds the image's difficulty plus a chance of its own, half of the variance each, so that two models agree on most.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from results.significance import verdict

IMAGES = 10_000
BASELINE_ACCURACY = 0.75


def verdicts(difference: float, seeds: int, studies: int, deviation: float = 0.003) -> Iterator[str]:
    """The verdict of each of `studies` simulated studies.

    Args:
        difference: of the two recipes' true accuracies, a fraction.
        deviation: standard deviation of a recipe's accuracy over seeds, a fraction.
    """
    random = np.random.default_rng(1)
    for _ in range(studies):
        difficulty = random.normal(0.0, 1.0, IMAGES)
        means = random.normal((BASELINE_ACCURACY + difference, BASELINE_ACCURACY), deviation, (seeds, 2))
        winner, baseline = (_correct(of_role, difficulty, random) for of_role in means.T)
        yield verdict(winner, baseline).verdict


def _correct(
    means: NDArray[np.float64], difficulty: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which images each seed's model gets right, bool [S, n], for expected accuracies float64 [S]."""
    skill = norm.ppf(means)[:, None] * 2**0.5
    return np.asarray(skill > difficulty + random.normal(0.0, 1.0, (len(means), IMAGES)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--deviation", type=float, default=0.3, metavar="POINTS", help="of accuracy over seeds")
    arguments = parser.parse_args()
    table = Table("true difference, points", "seeds", "better", "worse", "no evidence", box=None)
    for difference in (0.0, 0.005, 0.01, 0.02):
        for seeds in (1, 2, 3, 5, 10):
            said = list(verdicts(difference, seeds, arguments.studies, arguments.deviation / 100))
            shares = [f"{said.count(word) / arguments.studies:.1%}" for word in ("better", "worse", "no evidence")]
            table.add_row(f"{100 * difference:.1f}", str(seeds), *shares)
    Console().print(table)


if __name__ == "__main__":
    main()
