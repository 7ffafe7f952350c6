"""Two trained models on the same test images: intervals and tests for paired successes."""

from dataclasses import dataclass

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

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class McNemar:
    """Images that only one of two models gets right, and the two-sided p-value of that imbalance."""

    only_a: int
    only_b: int
    p_value: float


def wilson(correct: int, n: int) -> Interval:
    """The score interval of a proportion (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar(a: Correct, b: Correct) -> McNemar:
    """McNemar's test (1947) on two models' paired successes, bool [n] each.

    The asymptotic form without continuity correction, (b - c)^2 / (b + c) against chi-squared with one degree of
    freedom. Fagerland, Lydersen and Laake 2013 (BMC Medical Research Methodology 13:91) recommend it over the exact
    test, which is conservative. It is the score test that `paired_difference` inverts, so that p < 0.05 exactly where
    that interval excludes zero.
    """
    from scipy.stats import norm

    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    p_value = float(2 * norm.sf(abs(only_a - only_b) / discordant**0.5)) if discordant else 1.0
    return McNemar(only_a, only_b, p_value)


def paired_difference(a: Correct, b: Correct) -> Interval:
    """The difference of two accuracies on the same n images, bool [n] each: Tango's score interval.

    Tango 1998, Statistics in Medicine 17, 891-908: every difference that the score test does not reject at 5%. At zero
    that test is McNemar's.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    n = len(a)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    z = float(norm.ppf((1 + CONFIDENCE) / 2))

    def excess(difference: float, side: int) -> float:
        return _score(only_a, only_b, n, difference) - side * z

    found = (only_a - only_b) / n
    low = -1.0 if found == -1 else float(brentq(excess, -1.0, found, args=(1,)))
    high = 1.0 if found == 1 else float(brentq(excess, found, 1.0, args=(-1,)))
    return Interval(low, high)


def _score(only_a: int, only_b: int, n: int, difference: float) -> float:
    """Tango's statistic: how many standard errors the observed difference lies above `difference`."""
    distance = only_a - only_b - n * difference
    # The probability of "only b" that is most likely under this difference solves a quadratic equation.
    linear = (2 * n - only_a + only_b) * difference - only_a - only_b
    constant = -only_b * difference * (1 - difference)
    likeliest = ((linear**2 - 8 * n * constant) ** 0.5 - linear) / (4 * n)
    variance = n * (2 * likeliest + difference * (1 - difference))
    if variance <= 0:
        return 0.0 if distance == 0 else float(np.copysign(np.inf, distance))
    return float(distance / variance**0.5)
