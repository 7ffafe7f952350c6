"""The trial that a space draws from: what Optuna's sampler suggests, without a trial in any storage.

Optuna's own `study.ask()` registers a trial at once. Here a trial is registered when its TrialStarted event is applied,
so that a suggestion may be dropped, and so that a study that runs and one that is resumed are the same code.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
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


def quiet_study() -> optuna.Study:
    """An empty study in memory, made without a word on the terminal."""
    with quiet_optuna():
        return optuna.create_study()


class DrawnTrial:
    """Stands in for an optuna.Trial while a space draws.

    Args:
        study: what the sampler looks at.
        number: Optuna's number of the trial to come.
        sampler: suggests each value that is not known.
        known: values to take instead. One outside its range is returned, but not in `params`: Optuna cannot have
            drawn it. Nor are the values of hyperparameters that `known` leaves out; those are drawn at random.

    Attributes:
        params: what was drawn, by the name under which the space asked for it.
        distributions: from which range or choices each was drawn.
    """

    def __init__(
        self, study: optuna.Study, number: int, sampler: BaseSampler, known: Mapping[str, Any] | None = None
    ) -> None:
        self.number = number
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self.user_attrs: dict[str, Any] = {}
        self.datetime_start = datetime.now()
        self._study, self._sampler, self._known = study, sampler, known
        self._frozen = create_trial(state=TrialState.RUNNING)
        self._frozen.number = number
        self._joint: tuple[dict[str, BaseDistribution], dict[str, Any]] | None = None

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        return self.suggest_float(name, low, high, step=q)

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name in self.params:
            return self.params[name]
        if self._known is None:
            value = self._sample(name, distribution)
        elif name in self._known:
            value = self._known[name]
            if not search_spaces.contains(distribution, value):
                return value
        else:
            return self._sample(name, distribution)
        self.params[name], self.distributions[name] = value, distribution
        return value

    def _sample(self, name: str, distribution: BaseDistribution) -> Any:
        if distribution.single():
            if isinstance(distribution, CategoricalDistribution):
                return distribution.choices[0]
            return getattr(distribution, "low")  # noqa: B009
        if self._joint is None:
            self._sampler.before_trial(self._study, self._frozen)
            space = self._sampler.infer_relative_search_space(self._study, self._frozen)
            self._joint = space, self._sampler.sample_relative(self._study, self._frozen, space)
        _, values = self._joint
        if name in values and search_spaces.contains(distribution, values[name]):
            return values[name]
        return self._sampler.sample_independent(self._study, self._frozen, name, distribution)
