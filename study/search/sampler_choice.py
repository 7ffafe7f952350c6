"""What Optuna's sampler suggests, value by value, without a trial in any storage.

Optuna's own `study.ask()` registers a trial at once. Here a trial is registered when its TrialStarted event is applied,
so that a suggestion may be dropped, and so that a study that runs and one that is resumed are the same code.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

import search_spaces

_VERBOSITY = threading.Lock()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Inside, Optuna logs warnings only; afterwards what its user has set holds again."""
    with _VERBOSITY:
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)


class SamplerChoice:
    """Chooses each value as `study.sampler` does: jointly where it can, else one by one.

    Args:
        study: what the sampler looks at.
        number: Optuna's number of the trial to come.
    """

    def __init__(self, study: optuna.Study, number: int) -> None:
        self._study = study
        self._trial = create_trial(state=TrialState.RUNNING)
        self._trial.number = number
        self._joint: dict[str, Any] | None = None

    def __call__(self, name: str, distribution: BaseDistribution) -> Any:
        sampler, study, trial = self._study.sampler, self._study, self._trial
        if self._joint is None:
            sampler.before_trial(study, trial)
            self._joint = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
        match distribution:
            case FloatDistribution() | IntDistribution() if distribution.single():
                return distribution.low
            case CategoricalDistribution() if distribution.single():
                return distribution.choices[0]
        if name in self._joint and search_spaces.contains(distribution, self._joint[name]):
            return self._joint[name]
        return sampler.sample_independent(study, trial, name, distribution)
