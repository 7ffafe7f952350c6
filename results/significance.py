"""What the evidence supports about the winner and the baseline: the verdict, in numbers and in a sentence.

    found = verdict(Comparison(winner, baseline))
    print(found.sentence, *found.notes, sep="\\n")

docs/statistics.md explains every statistic in plain words.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.model_comparison import (
    CONFIDENCE,
    SIGNIFICANCE,
    Z95,
    Correct,
    Interval,
    McNemar,
    mcnemar,
    paired_difference,
    wilson,
)
from results.recipe_comparison import POWER, Estimate, Probability, of_accuracies
from results.seed_deviation import SeedDeviation

__all__ = [
    "CONFIDENCE",
    "SIGNIFICANCE",
    "Z95",
    "Comparison",
    "Interval",
    "McNemar",
    "Verdict",
    "claims",
    "evaluations_note",
    "holm",
    "mcnemar",
    "paired_difference",
    "verdict",
    "wilson",
]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that a verdict takes into account.

    Attributes:
        winner, baseline: whether each seed's network gets each test image right, bool [seeds, images]; images are the
            same, numbers of seeds may differ, the same row is the same seed.
        winner_prior, baseline_prior: what earlier runs say of each side's deviation between seeds, or None.
        meaningful: the smallest difference that matters, a fraction (`--meaningful`, in points).
        evaluations: how often these test images have been evaluated so far, with this study; 1 is the first.
        without: why -> indices of test images, int64: the verdict is given once more without each of these, where
            there are any and others remain.
    """

    winner: Correct
    baseline: Correct
    winner_prior: SeedDeviation | None = None
    baseline_prior: SeedDeviation | None = None
    meaningful: float = 0.005
    evaluations: int = 1
    without: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Meaningful:
    """The difference against a region of practical equivalence, -region to +region (Kruschke 2018).

    Attributes:
        region: a fraction.
        verdict: "better", "worse" (the 95% interval lies beyond the region), "equivalent" (within) or "undecided".
        on_these_images: the same by the interval over seeds alone, for exactly these test images; None with one seed
            of which nothing is known from earlier runs.
    """

    region: float
    verdict: str
    on_these_images: str | None


@dataclass(frozen=True)
class Models:
    """The first seed's two trained models; recipes may differ from what they show."""

    difference: float
    difference_interval: Interval
    p_value: float
    verdict: str


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds a side find a true difference of this size in 90% of studies; None: no number of seeds."""

    difference: float
    power: float
    seeds: int | None


@dataclass(frozen=True)
class Without:
    """The verdict without some of the test images."""

    why: str
    images: int
    difference: float
    difference_interval: Interval
    verdict: str


@dataclass(frozen=True)
class Verdict:
    """The winner against the baseline on the same test images.

    Attributes:
        winner_accuracies, baseline_accuracies: fractions, one per seed.
        winner_interval, baseline_interval: Wilson, of the first seed.
        difference: winner - baseline, mean over seeds, a fraction.
        difference_interval: 95%; of recipes over seeds and images, of models over images.
        interval_on_these_images: of recipes, over seeds alone; None for models.
        p_value: two-sided, by the method of the interval: below 0.05 exactly where it excludes zero.
        mcnemar: first seed; a is the winner.
        verdict: "better", "worse" or "no evidence".
        about: "recipes" (several seeds, or a deviation between seeds from earlier runs) or "models".
        method: "score" for models; "welch", "paired by seed" or "pooled deviation" for recipes.
        models: what the first seed's two models show.
        meaningful: the difference against the region that matters.
        probability: that the winner beats the baseline on a new seed: on these images, and on an infinite test set.
        seeds_needed: where `meaningful` is undecided about recipes.
        evaluations: of these test images, with this one.
        without: the verdict without some images.
        sentence: the verdict in one plain sentence, and one more with one seed.
        notes: what else there is to say, one sentence or two each.
    """

    winner_accuracies: tuple[float, ...]
    baseline_accuracies: tuple[float, ...]
    winner_interval: Interval
    baseline_interval: Interval
    difference: float
    difference_interval: Interval
    interval_on_these_images: Interval | None
    p_value: float
    mcnemar: McNemar
    verdict: str
    about: str
    method: str
    models: Models
    meaningful: Meaningful
    probability: tuple[Probability, Probability | None] | None
    seeds_needed: SeedsNeeded | None
    evaluations: int
    without: tuple[Without, ...]
    sentence: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_metrics(self) -> dict[str, Any]:
        """The keys of metrics.json that compare winner and baseline, JSON-ready (docs/run-directory.md)."""
        here, anywhere = self.probability or (None, None)
        return {
            "difference": self.difference,
            "difference_interval": _pair(self.difference_interval),
            "difference_interval_these_images": self.interval_on_these_images and _pair(self.interval_on_these_images),
            "p_value": self.p_value,
            "mcnemar": {
                "only_winner": self.mcnemar.only_a,
                "only_baseline": self.mcnemar.only_b,
                "p_value": self.mcnemar.p_value,
            },
            "verdict": self.verdict,
            "about": self.about,
            "method": self.method,
            "models": {**asdict(self.models), "difference_interval": _pair(self.models.difference_interval)},
            "meaningful": asdict(self.meaningful),
            "probability": here and {"on_these_images": asdict(here), "on_new_images": anywhere and asdict(anywhere)},
            "seeds_needed": self.seeds_needed and asdict(self.seeds_needed),
            "evaluations": self.evaluations,
            "without": [
                {**asdict(each), "difference_interval": _pair(each.difference_interval)} for each in self.without
            ],
            "sentence": self.sentence,
            "notes": list(self.notes),
        }


def _pair(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def verdict(comparison: Comparison) -> Verdict:
    """What the test set says of the winner against the baseline.

    With several seeds, or one seed and a deviation between seeds from earlier runs, it speaks of the two recipes, by
    the interval over seeds and images; else of these two trained models, by McNemar's test and the interval that
    inverts it.

    Raises:
        ValueError: there are no seeds or fewer than two images, or the two sides are of other images.
    """
    _check(comparison)
    winner, baseline = comparison.winner, comparison.baseline
    first = mcnemar(winner[0], baseline[0])
    of_models = _models(winner[0], baseline[0], first)
    estimate = _estimate(comparison)
    interval, p_value = (
        (of_models.difference_interval, first.p_value)
        if estimate is None
        else (estimate.interval(), estimate.p_value())
    )
    difference = float(winner.mean(1).mean() - baseline.mean(1).mean())
    here = None if estimate is None else estimate.interval_on_these_images()
    found = Verdict(
        winner_accuracies=tuple(map(float, winner.mean(1))),
        baseline_accuracies=tuple(map(float, baseline.mean(1))),
        winner_interval=wilson(int(winner[0].sum()), winner.shape[1]),
        baseline_interval=wilson(int(baseline[0].sum()), winner.shape[1]),
        difference=difference,
        difference_interval=interval,
        interval_on_these_images=here,
        p_value=p_value,
        mcnemar=first,
        verdict=_word(interval, 0.0),
        about="models" if estimate is None else "recipes",
        method="score" if estimate is None else estimate.method,
        models=of_models,
        meaningful=Meaningful(
            comparison.meaningful,
            _practical(interval, comparison.meaningful),
            None if here is None else _practical(here, comparison.meaningful),
        ),
        probability=None if estimate is None else estimate.probability_of_winning(),
        seeds_needed=None,
        evaluations=comparison.evaluations,
        without=tuple(_without(comparison, why) for why in comparison.without if _enough_left(comparison, why)),
        sentence="",
        notes=(),
    )
    if estimate is not None and found.meaningful.verdict == "undecided":
        size = max(abs(difference), comparison.meaningful)
        found = replace(found, seeds_needed=SeedsNeeded(size, POWER, estimate.seeds_needed(size)))
    found = replace(found, sentence=_sentence(found, comparison))
    return replace(found, notes=tuple(note for note in _notes(found, comparison) if note))


def _check(comparison: Comparison) -> None:
    shapes = comparison.winner.shape, comparison.baseline.shape
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"winner and baseline are {shapes[0]} and {shapes[1]}; allowed: [seeds, images], same images")
    if min(shapes[0][0], shapes[1][0]) < 1 or shapes[0][1] < 2:
        raise ValueError(f"a comparison needs a seed a side and 2 test images; there are {shapes[0]} and {shapes[1]}")


def _estimate(comparison: Comparison) -> Estimate | None:
    """The difference of the recipes, or None where one seed is all that is known of a side."""
    priors = comparison.winner_prior, comparison.baseline_prior
    sides = comparison.winner, comparison.baseline
    if any(len(side) == 1 and prior is None for side, prior in zip(sides, priors, strict=True)):
        return None
    return of_accuracies(*sides, priors)


def _models(winner: Correct, baseline: Correct, test: McNemar) -> Models:
    interval = paired_difference(winner, baseline)
    return Models(float(winner.mean() - baseline.mean()), interval, test.p_value, _word(interval, 0.0))


def _word(interval: Interval, least: float) -> str:
    if interval.low > least:
        return "better"
    return "worse" if interval.high < -least else "no evidence"


def _practical(interval: Interval, region: float) -> str:
    word = _word(interval, region)
    if word != "no evidence":
        return word
    return "equivalent" if -region <= interval.low and interval.high <= region else "undecided"


def _enough_left(comparison: Comparison, why: str) -> bool:
    left_out = len(np.unique(comparison.without[why]))
    return 0 < left_out <= int(comparison.winner.shape[1]) - 2


def _without(comparison: Comparison, why: str) -> Without:
    n = comparison.winner.shape[1]
    left_out = np.unique(comparison.without[why])
    kept = np.delete(np.arange(n), left_out)
    rest = replace(comparison, winner=comparison.winner[:, kept], baseline=comparison.baseline[:, kept], without={})
    _check(rest)
    estimate = _estimate(rest)
    if estimate is None:
        models = _models(rest.winner[0], rest.baseline[0], mcnemar(rest.winner[0], rest.baseline[0]))
        return Without(why, len(left_out), models.difference, models.difference_interval, models.verdict)
    interval = estimate.interval()
    return Without(why, len(left_out), estimate.difference, interval, _word(interval, 0.0))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values for several claims in one report (Holm 1979): each may be compared with 0.05.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is smaller than the one before it.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def claims(comparisons: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """Several secondary claims, corrected together: name -> its keys in metrics.json's `attribution`.

    Returns:
        `difference`, `difference_interval` (95%, of this claim alone), `p_value`, `adjusted_p_value` (Holm) and
        `verdict`, which the adjusted p-value decides.
    """
    found = {name: verdict(comparison) for name, comparison in comparisons.items()}
    adjusted = holm({name: each.p_value for name, each in found.items()})
    return {
        name: {
            "difference": each.difference,
            "difference_interval": _pair(each.difference_interval),
            "p_value": each.p_value,
            "adjusted_p_value": adjusted[name],
            "verdict": each.verdict if adjusted[name] < SIGNIFICANCE else "no evidence",
        }
        for name, each in found.items()
    }


def evaluations_note(evaluations: int, p_value: float) -> str:
    """What it does to a claim that these test images were evaluated before; nothing to say of the first time."""
    if evaluations < 2:
        return ""
    bound = SIGNIFICANCE / evaluations
    holds = "meets that" if p_value < bound else "does not"
    return (
        f"This is the {_ordinal(evaluations)} evaluation on these test images. Whoever picks the best of {evaluations} "
        f"needs p < {bound:.2g} in place of {SIGNIFICANCE} (Bonferroni); this comparison, {_p(p_value)}, {holds}."
    )


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def _p(p_value: float) -> str:
    return f"p = {p_value:.2g}" if p_value >= 1e-12 else "p < 1e-12"


def _points(difference: float, interval: Interval) -> str:
    return f"{100 * difference:+.2f} points (95% interval {100 * interval.low:+.2f} to {100 * interval.high:+.2f}"


def _sentence(found: Verdict, comparison: Comparison) -> str:
    noun = "model" if found.about == "models" else "recipe"
    subject = "the two trained models" if noun == "model" else "the two recipes"
    opening = {
        "better": f"The found {noun} is better than the baseline",
        "worse": f"The found {noun} is worse than the baseline",
        "no evidence": f"No evidence: {subject} cannot be told apart",
    }[found.verdict]
    seeds = len(found.winner_accuracies), len(found.baseline_accuracies)
    numbers = (
        f"{np.mean(found.winner_accuracies):.2%} against {np.mean(found.baseline_accuracies):.2%} on the same "
        f"{comparison.winner.shape[1]:,} test images, {_points(found.difference, found.difference_interval)}"
    )
    if noun == "model":
        return (
            f"{opening}: {numbers}; McNemar {_p(found.p_value)}). One seed each: other seeds would give other models."
        )
    over = f"over {seeds[0]} and {seeds[1]} seeds" if seeds[0] != seeds[1] else f"over {seeds[0]} seeds each"
    return f"{opening}: {numbers}, {'one seed each' if seeds == (1, 1) else over})."


def _notes(found: Verdict, comparison: Comparison) -> list[str]:
    return [
        _on_deviation(found, comparison),
        _on_models(found),
        _on_meaning(found),
        _on_probability(found),
        _on_seeds(found, comparison.winner.shape[1]),
        evaluations_note(found.evaluations, found.p_value),
        *(_on_without(found, each) for each in found.without),
    ]


def _on_deviation(found: Verdict, comparison: Comparison) -> str:
    priors = {each for each in (comparison.winner_prior, comparison.baseline_prior) if each is not None}
    if found.method != "pooled deviation" or not priors:
        return ""
    each = " and ".join(
        f"{100 * prior.deviation:.2f} points (from {prior.recipes} recipe{'' if prior.recipes == 1 else 's'})"
        for prior in sorted(priors, key=lambda prior: prior.deviation)
    )
    return (
        f"Seeds: the interval counts with a deviation between seeds of {each} in earlier runs of this family and data."
    )


def _on_models(found: Verdict) -> str:
    if found.about == "models" or max(len(found.winner_accuracies), len(found.baseline_accuracies)) > 1:
        return ""
    models = found.models
    word = {"better": "better", "worse": "worse", "no evidence": "not shown to differ"}[models.verdict]
    return (
        f"Models: of the two networks that were trained, the found one is {word}: "
        f"{_points(models.difference, models.difference_interval)}; McNemar {_p(models.p_value)})."
    )


def _on_meaning(found: Verdict) -> str:
    region = f"{100 * found.meaningful.region:.2g} points"
    said = {
        "better": f"better by more than {region}",
        "worse": f"worse by more than {region}",
        "equivalent": f"equivalent: less than {region} apart",
        "undecided": f"undecided: the interval reaches across {region}",
    }
    here = found.meaningful.on_these_images
    note = f"Size: {said[found.meaningful.verdict]}."
    if here is None or here == found.meaningful.verdict:
        return note
    return f"{note[:-1]}; for exactly these test images, {said[here]}."


def _on_probability(found: Verdict) -> str:
    if found.probability is None:
        return ""
    here, anywhere = found.probability
    said = (
        f"New seeds: trained once more from a new seed, the winner would beat the baseline on these images with "
        f"probability {_share(here)}"
    )
    return f"{said}." if anywhere is None else f"{said}, on an infinite test set with {_share(anywhere)}."


def _share(probability: Probability) -> str:
    value, low, high = (_percentage(each) for each in (probability.value, probability.low, probability.high))
    return f"{value} (95% interval {low} to {high})"


def _percentage(share: float) -> str:
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def _on_seeds(found: Verdict, images: int) -> str:
    needed = found.seeds_needed
    if needed is None:
        return ""
    size = f"a true difference of {100 * needed.difference:.2f} points"
    if needed.seeds is None:
        return f"More seeds: no number of seeds settles {size} with {images:,} test images; it takes more images."
    least = "at least " if min(len(found.winner_accuracies), len(found.baseline_accuracies)) == 1 else ""
    return (
        f"More seeds: with {least}{needed.seeds} seeds each, {size} would be found in {needed.power:.0%} of studies "
        f"(--final-seeds {needed.seeds})."
    )


def _on_without(found: Verdict, without: Without) -> str:
    same = "the same" if without.verdict == found.verdict else f'"{without.verdict}"'
    return (
        f"Without {without.images:,} test images ({without.why}) the verdict is {same}: "
        f"{_points(without.difference, without.difference_interval)})."
    )
