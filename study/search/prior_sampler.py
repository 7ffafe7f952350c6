"""A sampler for few trials: recommended values, variations of the best trials so far, and a share of random draws.

The mixture is that of PriorBand (Mallik et al. 2023, arXiv:2306.12370): the weight of the priors falls with the number
of trials, as in piBO (Hvarfner et al. 2022, arXiv:2204.11051), and the faster the less the results agree with them, so
that misleading priors cost little. Without priors it starts at random and then changes the best trials.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

import search_spaces
from search_spaces import Prior
from study.search.search_storage import rank_key

Source = Literal["prior", "best", "chance"]
# Share of suggestions that are uniform over the ranges: at first, and after many trials. The first ones show whether
# the priors are any better.
CHANCE_AT_FIRST, CHANCE = 0.35, 0.1
# After so many trials the first shares have half of their weight.
HALF_LIFE = 10
# After so many the results speak for themselves, and the priors are not looked at any more.
FORGOTTEN_AFTER = 100
# Trials, evenly spaced from the best to the worst, that show whether results agree with the priors.
COMPARED = 24
# Of a changed trial: the share of hyperparameters that keep their value, and how far the others move, in ranges.
KEEP, SPREAD = 0.5, 0.2


class PriorSampler(BaseSampler):
    """Suggests one trial.

    Args:
        priors: by hyperparameter; one without a prior is uniform there.
        given: values that priors may depend on, such as those of the base recipe.
    """

    def __init__(self, seed: int, priors: Mapping[str, Prior], given: Mapping[str, Any]) -> None:
        self._generator = np.random.default_rng(seed)
        self._uniform = RandomSampler(seed=seed)
        self._priors, self._given = priors, dict(given)
        self._source: Source = "chance"
        self._prior_share = 1.0
        self._parent: Mapping[str, Any] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Decides where this trial's values come from."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        ranked = _ranked(study.get_trials(deepcopy=False, states=states), study.direction)
        self._prior_share = self._share_of_priors(ranked)
        chance = max(CHANCE, CHANCE_AT_FIRST * _decay(len(ranked)))
        weights = [(1 - chance) * self._prior_share, (1 - chance) * (1 - self._prior_share), chance]
        sources: list[Source] = ["prior", "best", "chance"]
        self._source = sources[int(self._generator.choice(3, p=weights))]
        if self._source == "best":
            # The better a trial, the likelier; of 20, the best one has a third.
            leaders = max(1, math.ceil(len(ranked) / 4))
            likelihood = 0.6 ** np.arange(leaders)
            self._parent = ranked[int(self._generator.choice(leaders, p=likelihood / likelihood.sum()))].params

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        value = self._sample(study, trial, param_name, param_distribution)
        self._given[param_name] = value
        return value

    def _sample(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        if self._source == "best" and search_spaces.contains(distribution, self._parent.get(name)):
            if self._generator.random() < KEEP:
                return self._parent[name]
            if not isinstance(distribution, CategoricalDistribution):
                return self._moved(self._parent[name], distribution)
        elif self._source == "chance":
            return self._uniform.sample_independent(study, trial, name, distribution)
        if name in self._priors and (self._source == "prior" or self._generator.random() < self._prior_share):
            return self._priors[name].sample(distribution, self._generator, self._given)
        return self._uniform.sample_independent(study, trial, name, distribution)

    def _moved(self, value: float, distribution: BaseDistribution) -> float | int:
        """A value near `value`: normally distributed over the range, or its logarithm, and reflected at its ends."""
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        log = distribution.log
        low, high, at = (math.log(each) if log else each for each in (distribution.low, distribution.high, value))
        if low == high:
            return value
        moved = (at - low) / (high - low) + SPREAD * self._generator.normal()
        moved = abs(moved) % 2
        z = low + (high - low) * (2 - moved if moved > 1 else moved)
        return search_spaces.nearest(distribution, math.exp(z) if log else z)

    def _share_of_priors(self, ranked: Sequence[FrozenTrial]) -> float:
        """The weight of the priors against that of the best trials, from 1 at first to 0."""
        count = len(ranked)
        if count < 2:
            return 1.0
        if count >= FORGOTTEN_AFTER:
            return 0.0
        compared = ranked[:: math.ceil(count / COMPARED)]
        density = np.array([self._log_density(trial) for trial in compared])
        leaders = max(1, len(compared) // 3)
        spread = float(density.std()) * math.sqrt(1 / leaders + 1 / (len(compared) - leaders))
        ahead = 0.0 if spread == 0 else float(density[:leaders].mean() - density[leaders:].mean()) / spread
        return min(1.0, 2 * float(ndtr(ahead)) * _decay(count))

    def _log_density(self, trial: FrozenTrial) -> float:
        """How much likelier the trial is under the priors than under uniform draws."""
        given = {**self._given, **trial.params}
        return sum(
            self._priors[name].log_density(trial.distributions[name], value, given)
            for name, value in trial.params.items()
            if name in self._priors
        )


def _decay(trials: int) -> float:
    return HALF_LIFE / (HALF_LIFE + trials)


def _ranked(trials: Sequence[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: rank_key(trial, direction))
