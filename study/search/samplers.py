"""Samplers: which recipe a trial tries next.

SAMPLERS has them by name (`--sampler NAME`). One more is one function and one line: from a seed and the problem it
makes the Optuna sampler of one suggestion. A sampler is made anew for each, as the state of its generator would be lost
with the process: what it knows is the study, and the seed is the trial's.
"""

import warnings
from typing import Protocol

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

import search_spaces
from study.search.prior_sampler import PriorSampler
from study.search.problem import SearchProblem


class Sampler(Protocol):
    def __call__(self, seed: int, problem: SearchProblem) -> BaseSampler:
        """The Optuna sampler of one suggestion."""


def random(seed: int, problem: SearchProblem) -> BaseSampler:
    """Uniform over the ranges, whatever the results are."""
    return RandomSampler(seed=seed)


def tpe(seed: int, problem: SearchProblem) -> BaseSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), with every option that differs between versions set.

    Hyperparameters are modelled jointly (multivariate, the default since Optuna 5.0 only), those of a branch with those
    of the same branch (group; without it they would leave the joint model). Running trials count as bad ones (constant
    liar), so that trials side by side do not try the same thing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of multivariate until 5.0, group, and constant_liar
        return TPESampler(
            seed=seed,
            n_startup_trials=problem.n_startup,
            n_ei_candidates=24,
            multivariate=True,
            group=True,
            constant_liar=True,
        )


def prior(seed: int, problem: SearchProblem) -> BaseSampler:
    """Recommended values (the space's priors), variations of the best trials, and a share of random draws."""
    return PriorSampler(seed, search_spaces.priors_of(problem.space), problem.base.as_dict())


SAMPLERS: dict[str, Sampler] = {"tpe": tpe, "random": random, "prior": prior}
