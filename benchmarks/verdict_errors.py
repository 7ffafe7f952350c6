"""How often is the verdict wrong? Simulated studies in which the truth is known.

    python -m benchmarks.verdict_errors --studies 1000

Each study has 10,000 test images of unequal difficulty, the same for both recipes, and seeds that move a recipe's
accuracy by 0.3 points (standard deviation). A model gets an image right where its skill exceeds the image's difficulty
plus a chance of its own, half of the variance each, so that two models agree on most images.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from results.statistics import verdict

IMAGES = 10_000
BASELINE_ACCURACY = 0.75
SEED_DEVIATION = 0.003


def verdicts(difference: float, seeds: int, studies: int, seed: int = 1) -> Iterator[str]:
    """The verdict of each of `studies` simulated studies whose recipes truly differ by `difference` (a fraction)."""
    random = np.random.default_rng(seed)
    for _ in range(studies):
        difficulty = random.normal(0.0, 1.0, IMAGES)
        winner = _correct(BASELINE_ACCURACY + difference, difficulty, seeds, random)
        yield verdict(winner, _correct(BASELINE_ACCURACY, difficulty, seeds, random)).verdict


def _correct(
    mean: float, difficulty: NDArray[np.float64], seeds: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    skill = norm.ppf(mean + random.normal(0.0, SEED_DEVIATION, (seeds, 1))) * 2**0.5
    return np.asarray(skill > difficulty + random.normal(0.0, 1.0, (seeds, IMAGES)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    table = Table("true difference, points", "seeds", "better", "worse", "no evidence", box=None)
    for difference in (0.0, 0.005, 0.01, 0.02):
        for seeds in (1, 2, 3, 5, 10):
            said = list(verdicts(difference, seeds, studies))
            shares = [f"{said.count(word) / studies:.1%}" for word in ("better", "worse", "no evidence")]
            table.add_row(f"{100 * difference:.1f}", str(seeds), *shares)
    Console().print(table)


if __name__ == "__main__":
    main()
