"""Two recipes over several seeds on the same test images: the difference and what its uncertainty is made of.

A recipe's measured accuracy moves for two reasons: another seed trains another network, and other test images would be
easier or harder. `of_accuracies` estimates both parts from paired successes, `Estimate` turns them into intervals, the
probability that the winner beats the baseline on a new seed, and the number of seeds that would settle the question.
`python -m benchmarks.coverage` shows how often the intervals err.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.model_comparison import CONFIDENCE, SIGNIFICANCE, Correct, Interval
from results.seed_deviation import SeedDeviation

# With fewer seeds a side than this, the deviation of earlier runs is pooled with the study's own; with at least as many
# the seeds speak for themselves, and only then may they be paired.
FEW_SEEDS = 5
POWER = 0.9
MOST_SEEDS = 1000
DRAWS = 20_000

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Probability:
    """An estimated probability and its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ImagesPart:
    """What the choice of test images adds to the uncertainty of a mean difference; variances in squared fractions.

    Attributes:
        variance: of the mean difference, beyond what seeds already show on these images.
        freedom: degrees of freedom of `variance`.
        chance: the part of one seed pair's variance on these images that their finite number makes, and that an
            infinite test set would not have; None where one seed cannot tell.
    """

    variance: float
    freedom: float
    chance: float | None


@dataclass(frozen=True)
class Estimate:
    """The difference of two recipes and the parts of its uncertainty; variances in squared fractions.

    Attributes:
        difference: winner - baseline, mean over seeds, a fraction.
        of_seeds: variance of `difference` on these test images, from seeds alone.
        freedom: degrees of freedom of `of_seeds` and `one_pair`.
        one_pair: variance on these images of the difference of two networks trained from a new seed each.
        balance: 1 where one side's seeds make all of that variance, 2 where both make as much (Welch's formula).
        images: the test images' part.
        method: "welch", "paired by seed" or "pooled deviation".
    """

    difference: float
    of_seeds: float
    freedom: float
    one_pair: float
    balance: float
    images: ImagesPart
    method: str

    def interval(self) -> Interval:
        """The 95% interval of the difference over seeds and images: Student's t with Welch's degrees of freedom."""
        return _t_interval(self.difference, *self._spread())

    def interval_on_these_images(self) -> Interval:
        """The 95% interval of the difference over seeds, for exactly these test images."""
        return _t_interval(self.difference, self.of_seeds, self.freedom)

    def p_value(self) -> float:
        """Two-sided, of no difference; below 0.05 exactly where `interval` excludes zero."""
        from scipy.stats import t

        variance, freedom = self._spread()
        if variance == 0:
            return float(self.difference == 0)
        return float(2 * t.sf(abs(self.difference) / variance**0.5, freedom))

    def _spread(self) -> tuple[float, float]:
        """The variance of the difference over seeds and images, and its degrees of freedom (Satterthwaite 1946)."""
        variance = self.of_seeds + self.images.variance
        parts = self.of_seeds**2 / self.freedom + self.images.variance**2 / self.images.freedom
        return variance, variance**2 / parts if parts else 1.0

    def probability_of_winning(self) -> tuple[Probability, Probability | None]:
        """How likely the winner beats the baseline where both are trained once more, from a new seed.

        The second value is for their accuracies on an infinite test set: without the part of the variance between
        seeds that only the finite number of test images makes (Jordan 2023, arXiv:2304.01910); None with one seed.
        P = Phi(mean / deviation). The interval comes from draws of mean and deviation from their sampling
        distributions (normal and scaled inverse chi-squared), seeded, so that the same data give the same interval.
        """
        random = np.random.default_rng(0)
        variance = self.one_pair * self.freedom / random.chisquare(self.freedom, DRAWS)
        normal = random.standard_normal(DRAWS)
        share = self.of_seeds / self.one_pair if self.one_pair else 0.0
        here = _probability(
            self.difference, self.one_pair, self.difference + normal * np.sqrt(variance * share), variance
        )
        chance = self.images.chance
        if chance is None:
            return here, None
        means = self.difference + normal * np.sqrt(variance * share + self.images.variance)
        anywhere = _probability(
            self.difference, max(self.one_pair - chance, 0.0), means, np.maximum(variance - chance, 0.0)
        )
        return here, anywhere

    def seeds_needed(self, difference: float) -> int | None:
        """The fewest seeds a side with which a true difference of this size is found in 90% of studies.

        None where no number of seeds up to 1,000 is enough, because these test images are too few. The power is that of
        the t-test by the noncentral t distribution, with the variances that were estimated here. From one seed it is a
        lower bound: the chance of a single network's answers, which more seeds average out, cannot be told there from
        what the images do, so as much of it is assumed as the deviation between seeds allows.
        """
        from scipy.stats import nct, t

        seeds = np.arange(2, MOST_SEEDS + 1)
        of_seeds = self.one_pair / seeds
        of_images = self.images.variance
        if self.images.chance is None:
            of_images = max(of_images - self.one_pair, 0.0)
        variance = of_seeds + of_images
        if self.one_pair == 0:
            return 2 if of_images == 0 and difference else None
        freedom = variance**2 / (of_seeds**2 / (self.balance * (seeds - 1)))
        critical = t.ppf((1 + CONFIDENCE) / 2, freedom)
        enough = nct.sf(critical, freedom, abs(difference) / np.sqrt(variance)) >= POWER
        return int(seeds[enough.argmax()]) if enough.any() else None


def of_accuracies(
    winner: Correct, baseline: Correct, priors: tuple[SeedDeviation | None, SeedDeviation | None] = (None, None)
) -> Estimate:
    """The difference of accuracies, from paired successes bool [S, n] a side; the numbers of seeds may differ.

    The images' part is the variance over images of the two sides' mean difference, over n, less the chance of each
    single network's answers, which the variance between seeds holds already.

    Args:
        priors: what earlier runs say of the winner's and the baseline's deviation between seeds.

    Raises:
        ValueError: fewer than two images; or one seed on a side of which nothing is known from earlier runs.
    """
    return of_values(winner.mean(1), baseline.mean(1), images_part(winner, baseline), priors)


def images_part(winner: Correct, baseline: Correct) -> ImagesPart:
    """What the choice of test images adds, from paired successes bool [S, n] a side.

    Raises:
        ValueError: fewer than two images.
    """
    n = winner.shape[1]
    if n < 2:
        raise ValueError(f"a comparison needs at least 2 test images, not {n}")
    shares = winner.mean(0), baseline.mean(0)
    spread = float((shares[0] - shares[1]).var(ddof=1)) / n
    counts = len(winner), len(baseline)
    if min(counts) == 1:
        return ImagesPart(spread, n - 1, None)
    # For answers that are right or wrong, p (1 - p) S / (S - 1) is their variance over S seeds.
    by_chance = [
        float((share * (1 - share)).mean()) * seeds / (seeds - 1) / n
        for share, seeds in zip(shares, counts, strict=True)
    ]
    beyond = max(spread - by_chance[0] / counts[0] - by_chance[1] / counts[1], 0.0)
    return ImagesPart(beyond, n - 1, sum(by_chance))


def of_values(
    winner: Values,
    baseline: Values,
    images: ImagesPart,
    priors: tuple[SeedDeviation | None, SeedDeviation | None] = (None, None),
) -> Estimate:
    """The difference of any metric, from one value a seed, float64 [S] a side, and the images' part of its variance.

    Raises:
        ValueError: one seed on a side of which nothing is known from earlier runs.
    """
    difference = float(winner.mean() - baseline.mean())
    counts = len(winner), len(baseline)
    if min(counts) >= FEW_SEEDS and _seeds_move_together(winner, baseline):
        one_pair = float((winner - baseline).var(ddof=1))
        freedom = counts[0] - 1.0
        return Estimate(difference, one_pair / counts[0], freedom, one_pair, 1.0, images, "paired by seed")
    pools = min(counts) < FEW_SEEDS
    used = priors if pools else (None, None)
    if used[0] is not None and used[0] == used[1]:
        variances, freedom = _one_pool(winner, baseline, used[0])
        freedoms = (freedom, freedom)
        of_seeds = variances[0] / counts[0] + variances[1] / counts[1]
    else:
        sides = [_variance(values, prior) for values, prior in zip((winner, baseline), used, strict=True)]
        variances, freedoms = (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1])
        parts = variances[0] / counts[0], variances[1] / counts[1]
        of_seeds = sum(parts)
        weighed = parts[0] ** 2 / freedoms[0] + parts[1] ** 2 / freedoms[1]
        freedom = of_seeds**2 / weighed if weighed else sum(freedoms)
    squares = variances[0] ** 2 + variances[1] ** 2
    balance = sum(variances) ** 2 / squares if squares else 2.0
    method = "welch" if used == (None, None) else "pooled deviation"
    return Estimate(difference, of_seeds, freedom, sum(variances), balance, images, method)


def _seeds_move_together(winner: Values, baseline: Values) -> bool:
    """Whether the same seed moves both sides alike; only then does pairing make the interval shorter."""
    from scipy.stats import pearsonr

    if len(winner) != len(baseline) or not np.ptp(winner) or not np.ptp(baseline):
        return False
    return bool(pearsonr(winner, baseline, alternative="greater").pvalue < SIGNIFICANCE)


def _one_pool(winner: Values, baseline: Values, prior: SeedDeviation) -> tuple[tuple[float, float], float]:
    """One variance for both sides, pooled with that of earlier runs of the same data set and family."""
    own = [(len(values) - 1, float(values.var(ddof=1))) for values in (winner, baseline) if len(values) > 1]
    freedom = prior.freedom + sum(count for count, _ in own)
    pooled = (prior.freedom * prior.deviation**2 + sum(count * variance for count, variance in own)) / freedom
    return (pooled, pooled), freedom


def _variance(values: Values, prior: SeedDeviation | None) -> tuple[float, float]:
    """One side's variance between seeds and its degrees of freedom, pooled with `prior` where there is one."""
    own = len(values) - 1
    if own == 0 and prior is None:
        raise ValueError("one seed says nothing about a recipe without the deviation of earlier runs")
    squares = own * float(values.var(ddof=1)) if own else 0.0
    if prior is None:
        return squares / own, own
    freedom = prior.freedom + own
    return (prior.freedom * prior.deviation**2 + squares) / freedom, freedom


def _t_interval(difference: float, variance: float, freedom: float) -> Interval:
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * variance**0.5
    return Interval(difference - half, difference + half)


def _probability(mean: float, variance: float, means: Values, variances: Values) -> Probability:
    low, high = np.quantile(_above_zero(means, variances), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Probability(float(_above_zero(np.array(mean), np.array(variance))), float(low), float(high))


def _above_zero(means: Values, variances: Values) -> Values:
    """P(a normal value > 0), ties counted half; without variance the sign of the mean decides."""
    from scipy.stats import norm

    safe = np.where(variances > 0, variances, 1.0)
    found: Values = np.where(variances > 0, norm.cdf(means / np.sqrt(safe)), (np.sign(means) + 1) / 2)
    return found
