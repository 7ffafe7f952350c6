"""What may be said of the winner against the baseline: intervals, paired tests, and the verdict in a sentence."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
Z95 = 1.96  # the two-sided 95% quantile of the normal distribution

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A 95% confidence interval, in fractions."""

    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Images that only one of two models gets right, and the exact two-sided p-value of that imbalance."""

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Verdict:
    """The winner against the baseline on the same test images.

    Attributes:
        winner_accuracies, baseline_accuracies: fractions, one per seed.
        winner_interval, baseline_interval: Wilson, of the first seed.
        difference: winner - baseline, mean over seeds, a fraction.
        difference_interval: over images for one seed, over seeds for several.
        mcnemar: first seed; a is the winner.
        verdict: "better", "worse" or "no evidence".
        about: "models" (one seed) or "recipes" (several).
    """

    winner_accuracies: tuple[float, ...]
    baseline_accuracies: tuple[float, ...]
    winner_interval: Interval
    baseline_interval: Interval
    difference: float
    difference_interval: Interval
    mcnemar: McNemar
    verdict: str
    about: str
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def wilson(correct: int, n: int) -> Interval:
    """The score interval of a proportion (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar(a: Correct, b: Correct) -> McNemar:
    """McNemar's exact test (1947) on two models' paired successes, bool [n] each.

    The images on which they differ are fair coin tosses where neither is better.
    """
    from scipy.stats import binomtest

    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p_value)


def paired_difference(a: Correct, b: Correct) -> Interval:
    """The difference of two accuracies on the same n images, bool [n] each: Newcombe 1998, method 10.

    Statistics in Medicine 17, 2635-2650: the Wilson limits of both, joined through their correlation phi.
    """
    n = len(a)
    p, q = float(a.mean()), float(b.mean())
    of_a, of_b = wilson(int(a.sum()), n), wilson(int(b.sum()), n)
    both, neither = int((a & b).sum()), int((~a & ~b).sum())
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    phi = 0.0
    if margins:
        cross = both * neither - only_a * only_b
        # Newcombe's continuity correction, towards no correlation and only where it is positive.
        phi = (max(cross - n / 2, 0.0) if cross > 0 else float(cross)) / float(margins) ** 0.5
    down_a, up_a, down_b, up_b = p - of_a.low, of_a.high - p, q - of_b.low, of_b.high - q
    below = max(down_a**2 - 2 * phi * down_a * up_b + up_b**2, 0.0) ** 0.5
    above = max(up_a**2 - 2 * phi * up_a * down_b + down_b**2, 0.0) ** 0.5
    return Interval(p - q - below, p - q + above)


def seed_difference(winner: Correct, baseline: Correct) -> Interval:
    """The mean difference of accuracies over seeds and over images, bool [S, n] each, S of at least 2, paired by seed.

    Seeds and images are both samples. The images' part of the squared standard error is the variance of their mean
    differences over n; it holds the chance of each single prediction as well. The seeds' part is the variance between
    seeds beyond that chance, over S. Student's t gets the degrees of freedom of Welch and Satterthwaite (1946), from
    S - 1 and n - 1. `python -m benchmarks.verdict_errors` shows how often it errs.
    """
    from scipy.stats import t

    differences = winner.mean(1) - baseline.mean(1)
    seeds, n = winner.shape
    per_image = winner.mean(0) - baseline.mean(0)
    by_chance = (winner.astype(np.int8) - baseline.astype(np.int8)).var(axis=0, ddof=1).mean() / n
    of_seeds = max(differences.var(ddof=1) - by_chance, 0.0) / seeds
    of_images = per_image.var(ddof=1) / n
    variance = of_seeds + of_images
    freedom = variance**2 / (of_seeds**2 / (seeds - 1) + of_images**2 / (n - 1)) if variance else 1.0
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom) * variance**0.5)
    mean = float(differences.mean())
    return Interval(mean - half, mean + half)


def verdict(winner: Correct, baseline: Correct) -> Verdict:
    """What the test set says, from paired successes bool [S, n] over S seeds and n images.

    With one seed it speaks of these two trained models, by McNemar's test; with several of the two recipes, by the
    interval over seeds.
    """
    seeds, n = winner.shape
    first = mcnemar(winner[0], baseline[0])
    accuracies = tuple(map(float, winner.mean(1))), tuple(map(float, baseline.mean(1)))
    difference = float(winner.mean() - baseline.mean())
    if seeds == 1:
        interval, proven = paired_difference(winner[0], baseline[0]), first.p_value < SIGNIFICANCE
    else:
        interval = seed_difference(winner, baseline)
        proven = interval.low > 0 or interval.high < 0
    word = "no evidence" if not proven else "better" if difference > 0 else "worse"
    return Verdict(
        winner_accuracies=accuracies[0],
        baseline_accuracies=accuracies[1],
        winner_interval=wilson(int(winner[0].sum()), n),
        baseline_interval=wilson(int(baseline[0].sum()), n),
        difference=difference,
        difference_interval=interval,
        mcnemar=first,
        verdict=word,
        about="models" if seeds == 1 else "recipes",
        sentence=_sentence(word, accuracies, difference, interval, first, n),
    )


def _sentence(
    word: str,
    accuracies: tuple[tuple[float, ...], tuple[float, ...]],
    difference: float,
    interval: Interval,
    first: McNemar,
    n: int,
) -> str:
    seeds = len(accuracies[0])
    subject = "the two trained models" if seeds == 1 else "the two recipes"
    opening = {
        "better": f"{'The found model' if seeds == 1 else 'The found recipe'} is better than the baseline",
        "worse": f"{'The found model' if seeds == 1 else 'The found recipe'} is worse than the baseline",
        "no evidence": f"No evidence: {subject} cannot be told apart",
    }[word]
    numbers = (
        f"{float(np.mean(accuracies[0])):.2%} against {float(np.mean(accuracies[1])):.2%} "
        f"on the same {n:,} test images, "
        f"{100 * difference:+.2f} points (95% interval {100 * interval.low:+.2f} to {100 * interval.high:+.2f}"
    )
    if seeds > 1:
        return f"{opening}: {numbers}, over {seeds} seeds each)."
    p_value = f"p = {first.p_value:.2g}" if first.p_value >= 1e-12 else "p < 1e-12"
    return f"{opening}: {numbers}; McNemar {p_value}). One seed each: other seeds would give other models."
