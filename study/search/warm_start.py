"""What a study learns from earlier ones (`--warm-start`): trials that its sampler knows, and priors.

A finished trial of another study counts as one of this study where it was measured alike: by the same metric, after
the same number of epochs, on the same data set. Where that is not so, or the other study had other ranges, the best
quarter of its trials become priors instead: each hyperparameter's recommended value is where these lie.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

import search_spaces
from search_spaces import SpaceError
from search_spaces.priors import ChoicePrior, ConditionalPrior, LogNormalPrior, NormalPrior, Prior, priors_of
from study.recipe import FIELDS, OPTION
from study.search.problem import PastTrial, SearchProblem

BEST_SHARE = 0.25  # of an earlier study's trials, whose values become a prior
# The least spread of such a prior, as a share of the range: a few trials agree by chance.
LEAST_SPREAD = 0.15


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial of another study.

    Attributes:
        fields: Recipe fields and drawn hyperparameters, as far as they are known.
        status: completed, stopped, diverged or failed.
        values: the metric after each epoch; empty where only the last value is known.
        value: the metric at its end; None where it has none.
    """

    fields: Mapping[str, Any]
    status: str
    values: Sequence[float]
    value: float | None


@dataclass(frozen=True)
class EarlierStudy:
    """Another study, in whatever form it was kept.

    Attributes:
        name: as it was given.
        same_measure: whether its values may stand beside those of this study.
        same_ranges: whether it drew from the same ranges; None where that is not known.
    """

    name: str
    trials: Sequence[EarlierTrial]
    same_measure: bool
    same_ranges: bool | None = None


def observations(earlier: EarlierStudy, problem: SearchProblem) -> list[PastTrial]:
    """Its trials that `problem` could have suggested: all that differs from the base Recipe, the space varies."""
    found = [_observation(trial, problem) for trial in earlier.trials] if earlier.same_measure else []
    return [past for past in found if past is not None]


def leaders(earlier: EarlierStudy, problem: SearchProblem, observed: int) -> list[dict[str, Any]]:
    """The fields of its best trials, where not all of them are observations; JSON-ready, the best first.

    Args:
        observed: how many of its trials are observations.
    """
    same_ranges = earlier.same_ranges if earlier.same_ranges is not None else observed == len(earlier.trials)
    if earlier.same_measure and same_ranges and observed:
        return []
    sign = -1 if problem.metric.mode == "max" else 1
    complete = [trial for trial in earlier.trials if trial.status == "completed" and trial.value is not None]
    ranked = sorted(complete, key=lambda trial: sign * (trial.value or 0.0))
    best = ranked[: math.ceil(BEST_SHARE * len(ranked))]
    return [{"source": earlier.name, "fields": dict(trial.fields)} for trial in best]


def priors(leaders: Sequence[Mapping[str, Any]], problem: SearchProblem) -> dict[str, Prior]:
    """A prior for each hyperparameter of the problem that these trials have values of.

    Args:
        leaders: as `leaders` gives them, of all earlier studies together.
    """
    if not leaders:
        return {}
    source = "the best trials of " + ", ".join(dict.fromkeys(str(each["source"]) for each in leaders))
    of_space, fields = priors_of(problem.space), [each["fields"] for each in leaders]
    found: dict[str, Prior] = {}
    prior: Prior | None
    for name, distribution in search_spaces.hyperparameters(problem.space, problem.fixed).items():
        usual = of_space.get(name)
        if isinstance(usual, ConditionalPrior):
            groups: dict[Any, list[Any]] = {}
            for each in fields:
                if name in each:
                    groups.setdefault(each.get(usual.by, problem.base.as_dict().get(usual.by)), []).append(each[name])
            cases = {case: _prior(values, distribution, source) for case, values in groups.items()}
            known = {case: each for case, each in cases.items() if each is not None}
            prior = ConditionalPrior(by=usual.by, cases={**usual.cases, **known}, source=source) if known else None
        else:
            prior = _prior([each[name] for each in fields if name in each], distribution, source)
        if prior is not None:
            found[name] = prior
    return found


def _prior(values: Sequence[Any], distribution: BaseDistribution, source: str) -> Prior | None:
    if not values:
        return None
    if isinstance(distribution, CategoricalDistribution):
        counts = {choice: 0.5 + sum(_same(value, choice) for value in values) for choice in distribution.choices}
        return ChoicePrior(weights=counts, source=source) if max(counts.values()) > 0.5 else None
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    numbers = np.array([value for value in values if isinstance(value, int | float) and not isinstance(value, bool)])
    if distribution.log:
        numbers = np.log(numbers[numbers > 0])
    if not len(numbers):
        return None
    ends = (math.log(distribution.low), math.log(distribution.high)) if distribution.log else _ends(distribution)
    spread = max(float(numbers.std()), LEAST_SPREAD * (ends[1] - ends[0]), 1e-12)
    centre = float(np.median(numbers))
    if distribution.log:
        return LogNormalPrior(centre=math.exp(centre), factor=math.exp(spread), source=source)
    return NormalPrior(centre=centre, spread=spread, source=source)


def _ends(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    return float(distribution.low), float(distribution.high)


def _same(value: Any, choice: Any) -> bool:
    return bool(value == choice) and isinstance(value, bool) == isinstance(choice, bool)


def _observation(trial: EarlierTrial, problem: SearchProblem) -> PastTrial | None:
    recipe = {name: value for name, value in trial.fields.items() if name in FIELDS or OPTION.fullmatch(name)}
    params = {name: value for name, value in trial.fields.items() if name not in recipe}
    draw = problem.draw_known(recipe, params)
    if any(name not in trial.fields for name in draw.params):
        return None
    suggested = problem.base.as_dict() | draw.fields
    varied = (each for each in recipe.items() if each[0] not in ("epochs", "seed"))
    if any(suggested.get(name) != value for name, value in varied):
        return None
    # A file of trials names no code to load.
    if ":" in str(suggested["model"]) and suggested["model"] not in (problem.base.model, draw.params.get("model")):
        return None
    try:
        problem.recipe(0, draw.fields)
    except SpaceError:
        return None
    past: PastTrial = {"recipe": suggested | recipe, "status": trial.status, "accuracies": list(trial.values)}
    if params:
        past["params"] = dict(params)
    if not trial.values and trial.value is not None:
        past["value"] = trial.value
    return past


def in_one_unit(values: Iterable[float | None], problem: SearchProblem) -> bool:
    """Whether values from outside can be this metric: a share lies between 0 and 1."""
    is_share = problem.metric.format.endswith("%}")
    return not is_share or all(0 <= value <= 1 for value in values if value is not None)
