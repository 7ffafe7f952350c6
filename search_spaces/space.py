"""What a space is, and what can be done with any space: draw from it, pin some of its knobs, list them all."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

# Recipe field -> value.
Fields: TypeAlias = dict[str, Any]
# The names under which a space draws from its trial are the Recipe's fields; it returns all the fields it sets.
Space: TypeAlias = Callable[[optuna.Trial], Fields]

DRAWS = 200


class SpaceError(ValueError):
    """A space that cannot be found, drawn from, or brought together with pinned values. One line for the user."""


class Pinned:
    """An Optuna trial in which some knobs have their value already; all else is the trial itself.

    A space drawn from it follows the branches of the pinned values: with `model` pinned to "resnet18", knobs that only
    the other networks have are not drawn. A pinned knob is not registered with Optuna.

    Args:
        trial: whose other knobs are drawn.
        fixed: Recipe field -> value. Fields that the space does not draw are of no account here.
    """

    def __init__(self, trial: optuna.Trial, fixed: Mapping[str, Any]) -> None:
        self._trial, self._fixed = trial, fixed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        if name in self._fixed:
            return float(self._checked(name, FloatDistribution(low, high, **options)))
        return self._trial.suggest_float(name, low, high, **options)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        if name in self._fixed:
            return int(self._checked(name, IntDistribution(low, high, **options)))
        return self._trial.suggest_int(name, low, high, **options)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name in self._fixed:
            return self._checked(name, CategoricalDistribution(choices))
        return self._trial.suggest_categorical(name, choices)

    def _checked(self, name: str, distribution: BaseDistribution) -> Any:
        value = self._fixed[name]
        if not contains(distribution, value):
            raise SpaceError(f"{name} is fixed at {value!r}, but the space draws it from {in_words(distribution)}")
        return value


def draw(space: Space, trial: optuna.Trial, fixed: Mapping[str, Any] | None = None) -> Fields:
    """The fields that `space` gives for `trial`, with the knobs in `fixed` pinned.

    Raises:
        SpaceError: the space raises, returns no dict or something else than it draws, or cannot give what is pinned.
    """
    fixed = fixed or {}
    try:
        fields = space(Pinned(trial, fixed))  # type: ignore[arg-type]
    except SpaceError:
        raise
    except Exception as error:
        raise SpaceError(f"the space raised {type(error).__name__}: {error}") from error
    if not isinstance(fields, dict):
        raise SpaceError(f"the space returned {fields!r}; allowed: a dict of Recipe fields")
    for name, value in fixed.items():
        if name in fields and fields[name] != value:
            raise SpaceError(f"{name} is fixed at {value!r}, but the space sets it to {fields[name]!r}")
    for name, value in trial.params.items():
        # A record has what was returned, and a study that is resumed from it must have been told the same.
        if fields.get(name) != value:
            raise SpaceError(f"the space draws {name} {value!r} and returns {fields.get(name)!r}; return what is drawn")
    return fields


def draws(
    space: Space, number: int, seed: int = 0, fixed: Mapping[str, Any] | None = None
) -> list[tuple[Fields, dict[str, BaseDistribution]]]:
    """`number` random draws: the fields of each, and the knobs that it drew.

    Raises:
        SpaceError: as `draw`.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    optuna.logging.set_verbosity(verbosity)
    found = []
    for _ in range(number):
        trial = study.ask()
        fields = draw(space, trial, fixed)
        found.append((fields, trial.distributions))
    return found


def knobs(space: Space, fixed: Mapping[str, Any] | None = None) -> dict[str, BaseDistribution]:
    """What `space` varies: Recipe field -> Optuna distribution, in the order of first sight.

    A space is a function, so its knobs are found by drawing 200 times. A knob whose range depends on another one has
    the smallest range here that holds them all.

    Raises:
        SpaceError: as `draw`, or a knob that is drawn in two ways that no one range can hold.
    """
    found: dict[str, BaseDistribution] = {}
    for _, distributions in draws(space, DRAWS, fixed=fixed):
        for name, distribution in distributions.items():
            found[name] = _hull(name, found.get(name, distribution), distribution)
    return found


def _hull(name: str, one: BaseDistribution, other: BaseDistribution) -> BaseDistribution:
    if one == other:
        return one
    if isinstance(one, FloatDistribution) and isinstance(other, FloatDistribution):
        if (one.log, one.step) == (other.log, other.step):
            low, high = min(one.low, other.low), max(one.high, other.high)
            return FloatDistribution(low, high, log=one.log, step=one.step)
    elif (
        isinstance(one, IntDistribution)
        and isinstance(other, IntDistribution)
        and (one.log, one.step) == (other.log, other.step)
    ):
        return IntDistribution(min(one.low, other.low), max(one.high, other.high), log=one.log, step=one.step)
    raise SpaceError(f"{name} is drawn from {in_words(one)} and from {in_words(other)}; allowed: ranges of one kind")


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether `distribution` can give `value`."""
    if isinstance(distribution, CategoricalDistribution):
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in distribution.choices
        )
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return False
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not distribution.low <= value <= distribution.high
    ):
        return False
    steps = (value - distribution.low) / (distribution.step or math.inf)
    return math.isclose(steps, round(steps), abs_tol=1e-8)


def in_words(distribution: BaseDistribution) -> str:
    """What `distribution` can give, such as `0.001 to 0.1, logarithmic` or `sgd, adam`."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(str(choice) for choice in distribution.choices)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return str(distribution)
    words = f"{distribution.low:g} to {distribution.high:g}"
    if distribution.log:
        return f"{words}, logarithmic"
    whole = isinstance(distribution, IntDistribution) and distribution.step == 1
    return words if whole or distribution.step is None else f"{words} by {distribution.step:g}"
