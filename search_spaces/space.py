"""What a space is, and what can be done with any space: draw from it, replay a draw, list what it varies, check it.

A space is called with a SpaceTrial, which stands for an Optuna trial. Where its values come from (Optuna's sampler, a
fixed value, a recipe that is known already) is decided here, so that a space looks the same in every use.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import isclose
from typing import Any, TypeAlias

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces import distributions as distributions_of
from search_spaces.distributions import contains, in_words, plain
from search_spaces.loading import one_line, where
from search_spaces.priors import Prior, priors_of

# Recipe field -> value.
Fields: TypeAlias = dict[str, Any]
# A space draws from its trial, under any names, and returns the Recipe fields that it sets.
Space: TypeAlias = Callable[[optuna.Trial], Fields]
# What a hyperparameter's value is: (name, distribution) -> value.
Choose: TypeAlias = Callable[[str, BaseDistribution], Any]

DRAWS = 200
CHECKED_DRAWS = 20


class SpaceError(ValueError):
    """A space that cannot be found, drawn from, or brought together with fixed values. One line for the user."""


@dataclass(frozen=True)
class Draw:
    """One draw from a space; everything is JSON-ready.

    Attributes:
        fields: the Recipe fields that the space returned, those that are fixed among them.
        params: what Optuna drew, or would be told that it drew: name -> value, in the order of drawing. Names need not
            be Recipe fields. A value that Optuna could not have drawn is not in here.
        distributions: of the same names.
    """

    fields: Fields
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


class SpaceTrial(optuna.trial.BaseTrial):
    """What a space sees: an Optuna trial whose values are chosen by `choose`.

    Choices may be anything. Optuna is shown None, bool, int, float and str as they are and other things (tuples, lists,
    classes) by their name or text; the space gets the thing itself. numpy's scalars become Python's. The methods that
    Optuna deprecates (`suggest_uniform`, `suggest_loguniform`, `suggest_discrete_uniform`) work.

    Args:
        choose: gives the value of each hyperparameter that is not fixed, when it is asked for the first time.
        fixed: name -> value. The branches of a fixed value are followed.
        number: the trial's number in the study.
        trial: the Optuna trial behind it, where there is one: it gets the user attributes.
    """

    def __init__(
        self,
        choose: Choose,
        fixed: Mapping[str, Any] | None = None,
        *,
        number: int = 0,
        trial: optuna.Trial | None = None,
    ) -> None:
        self._choose, self._fixed, self._number, self._trial = choose, fixed or {}, number, trial
        self._params: dict[str, Any] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        self._user_attrs: dict[str, Any] = {}
        self._started = datetime.now()

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        bounds = float(plain(low)), float(plain(high))
        return float(self._value(name, FloatDistribution(*bounds, log=bool(log), step=plain(step))))

    def suggest_int(self, name: str, low: int, high: int, step: int = 1, log: bool = False) -> int:
        distribution = IntDistribution(plain(low), plain(high), log=bool(log), step=plain(step))
        return int(self._value(name, distribution))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        options = [plain(choice) for choice in choices]
        labels = [_label(option) for option in options]
        unlike = [label for label, option in zip(labels, options, strict=True) if label is not option]
        if len(set(unlike)) < len(unlike):
            raise SpaceError(f"{name} has choices that read alike: {', '.join(map(str, labels))}")
        distribution = CategoricalDistribution(labels)
        return options[int(distribution.to_internal_repr(self._value(name, distribution)))]

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        return self.suggest_float(name, low, high, step=q)

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        name = str(name)
        if name not in self._params:
            choose = self._choose if name not in self._fixed else self._fixed_value
            self._params[name] = choose(name, distribution)
            self._distributions[name] = distribution
        elif self._distributions[name] != distribution:
            first = in_words(self._distributions[name])
            raise SpaceError(f"{name} is drawn twice in one trial, from {first} and from {in_words(distribution)}")
        return self._params[name]

    def _fixed_value(self, name: str, distribution: BaseDistribution) -> Any:
        value = _shown(distribution, self._fixed[name])
        if not contains(distribution, value):
            raise SpaceError(f"{name} is fixed at {value!r}, but the space draws it from {in_words(distribution)}")
        return value

    @property
    def params(self) -> dict[str, Any]:
        """What was drawn so far, fixed values included."""
        return dict(self._params)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return dict(self._distributions)

    @property
    def number(self) -> int:
        return self._number

    @property
    def relative_params(self) -> dict[str, Any]:
        return {} if self._trial is None else dict(self._trial.relative_params)

    @property
    def datetime_start(self) -> datetime | None:
        return self._started if self._trial is None else self._trial.datetime_start

    @property
    def user_attrs(self) -> dict[str, Any]:
        return dict(self._user_attrs) if self._trial is None else self._trial.user_attrs

    @property
    def system_attrs(self) -> dict[str, Any]:
        return {}

    def set_user_attr(self, key: str, value: Any) -> None:
        self._user_attrs[key] = value
        if self._trial is not None:
            self._trial.set_user_attr(key, value)

    def set_system_attr(self, key: str, value: Any) -> None:
        """Kept by nobody: Optuna's own attributes are the sampler's."""

    def set_constraint(self, key: str, value: float) -> None:
        """Kept by nobody: a study here has no constraints."""

    def report(self, value: float, step: int) -> None:
        """Reports nothing: the study does, after each epoch."""

    def should_prune(self) -> bool:
        return False


def draw(
    space: Space, trial: optuna.Trial, fixed: Mapping[str, Any] | None = None, *, number: int | None = None
) -> Draw:
    """What `space` draws from an Optuna trial; the space is called once.

    Args:
        fixed: hyperparameters or Recipe fields that have one value. What is fixed is not drawn, the branches of its
            value are followed, and Optuna is not told. A field that the space sets without drawing it under its own
            name gets the fixed value.
        number: what the space sees as `trial.number`; by default Optuna's own number.

    Raises:
        SpaceError: the space raises, returns no dict of fields, or draws from a range that the fixed value is not in.
    """
    number = trial.number if number is None else number
    proxy = SpaceTrial(partial(_suggest, trial), fixed, number=number, trial=trial)
    return _drawn(_fields(space, proxy, fixed), proxy, fixed)


def draw_with(space: Space, choose: Choose, fixed: Mapping[str, Any] | None = None, *, number: int = 0) -> Draw:
    """As `draw`, with values that `choose` gives: no Optuna trial is needed, and `register` makes one of the draw.

    Args:
        choose: (name, distribution) -> a value that the distribution contains. It is called once for each
            hyperparameter, in the order in which the space asks, such as by a sampler's `sample_independent`.

    Raises:
        SpaceError: as `draw`.
    """
    proxy = SpaceTrial(choose, fixed, number=number)
    return _drawn(_fields(space, proxy, fixed), proxy, fixed)


def draw_known(
    space: Space,
    known: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    *,
    number: int = 0,
) -> Draw:
    """The draw of `space` that gives the recipe `known`: trial 0, a warm start, or a trial of an event log.

    Where the space asks for a hyperparameter, it gets what is fixed, else what `params` has, else the recipe's field of
    that name, else the centre of the space's own prior, else the middle of the range or the first choice. A value that
    the range does not contain is shown to the space as the nearest one that it does contain, or as the first choice,
    and is not in the result's `params`.

    Whatever the space makes of this, the result's `fields` have the recipe's values. If the space cannot give them
    (because a field is derived from hyperparameters that are not known), the result's `params` have only what agrees
    with the recipe.

    Args:
        known: Recipe field -> value.
        params: what was drawn for this recipe, where that is known: name -> value.

    Raises:
        SpaceError: as `draw`.
    """
    fixed, params = fixed or {}, params or {}
    known = {**known, **fixed}
    choose = _Known({**known, **params}, getattr(space, "priors", {}))
    proxy = SpaceTrial(choose, fixed, number=number)
    returned = _fields(space, proxy, fixed)
    fields = {name: known.get(name, value) for name, value in returned.items()}
    agrees = all(_equal(fields[name], value) for name, value in returned.items())
    seen = _drawn(fields, proxy, fixed)
    told = {
        name: value
        for name, value in seen.params.items()
        if name not in choose.outside
        and (agrees or name in params or (name in known and _equal(returned.get(name, value), value)))
    }
    return Draw(fields, told, {name: seen.distributions[name] for name in told})


def register(study: optuna.Study, known: Draw) -> optuna.Trial:
    """A new trial of `study` that has drawn `known.params`, as if its sampler had suggested them."""
    study.enqueue_trial(known.params)
    trial = study.ask()
    for name, distribution in known.distributions.items():
        _suggest(trial, name, distribution)
    return trial


def draws(space: Space, count: int, seed: int = 0, fixed: Mapping[str, Any] | None = None) -> list[Draw]:
    """`count` draws, uniform at random.

    Raises:
        SpaceError: as `draw`.
    """
    with _quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return [draw(space, study.ask(), fixed) for _ in range(count)]


def hyperparameters(space: Space, fixed: Mapping[str, Any] | None = None) -> dict[str, BaseDistribution]:
    """What `space` varies: name -> Optuna distribution, in the order in which they are first drawn.

    A space is a function, so its hyperparameters are found by drawing 200 times. One whose range depends on another one
    has the smallest range here that holds them all.

    Raises:
        SpaceError: as `draw`, or a hyperparameter is drawn in two ways that no one range can hold.
    """
    found: dict[str, BaseDistribution] = {}
    for each in draws(space, DRAWS, fixed=fixed):
        for name, distribution in each.distributions.items():
            before = found.get(name, distribution)
            together = distributions_of.hull(before, distribution)
            if together is None:
                raise SpaceError(
                    f"{name} is drawn from {in_words(before)} and from {in_words(distribution)}; "
                    "allowed: ranges of one kind"
                )
            found[name] = together
    return found


def configurations(space: Space, limit: int, fixed: Mapping[str, Any] | None = None) -> list[Draw] | None:
    """All draws that `space` can give, where there are at most `limit`; None where there are more, or infinitely many.

    The space is called once for each of them.

    Raises:
        SpaceError: as `draw`.
    """
    found: list[Draw] = []
    waiting: list[dict[str, Any]] = [{}]
    while waiting:
        choose = _Listed(waiting.pop(), limit)
        found.append(draw_with(space, choose, fixed))
        waiting += reversed(choose.others)
        if choose.endless or len(found) + len(waiting) > limit:
            return None
    return found


def check(
    space: Space,
    base: Mapping[str, Any],
    known: Iterable[Mapping[str, Any]] = (),
    fixed: Mapping[str, Any] | None = None,
) -> list[Draw]:
    """Draws the base recipe, every known recipe and 20 random ones, so that a mistake shows before any training.

    Args:
        base: the fields of the recipe that trial 0 has.
        known: the fields of recipes that a search starts from.

    Returns:
        The base recipe's draw, those of the known ones, the random ones.

    Raises:
        SpaceError: as `draw`, naming the recipe; a Recipe field is drawn and never returned; the space's `priors` are
            no priors.
    """
    try:
        priors_of(space)
    except ValueError as error:
        raise SpaceError(str(error)) from error
    found = []
    for what, recipe in [("the base recipe", base), *((f"known recipe {i}", each) for i, each in enumerate(known))]:
        try:
            found.append(draw_known(space, recipe, fixed=fixed))
        except SpaceError as error:
            raise SpaceError(f"it cannot draw {what}: {error}") from error
    random = draws(space, CHECKED_DRAWS, fixed=fixed)
    drawn = {name for each in random for name in each.params}
    returned = {name for each in random for name in each.fields}
    for name in sorted(drawn & set(base) - returned):
        raise SpaceError(f"it draws {name} and never returns it; return it, or give it a name that is no Recipe field")
    return [*found, *random]


def _fields(space: Space, trial: SpaceTrial, fixed: Mapping[str, Any] | None) -> Fields:
    """Calls the space once.

    Raises:
        SpaceError: it raises, or returns something else than a dict of fields.
    """
    try:
        returned = space(trial)  # type: ignore[arg-type]
    except SpaceError:
        raise
    except (Exception, SystemExit) as error:
        place = where(error)
        said = f"the space raised {type(error).__name__}: {one_line(error)}"
        raise SpaceError(said + (f" ({place})" if place else "")) from error
    if not isinstance(returned, Mapping) or not all(isinstance(name, str) for name in returned):
        raise SpaceError(f"the space returned {one_line(repr(returned))}; allowed: a dict of Recipe fields")
    fields = {str(name): plain(value) for name, value in returned.items()}
    return {name: (fixed or {}).get(name, value) for name, value in fields.items()}


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution():
            low, high = distribution.low, distribution.high
            return trial.suggest_float(name, low, high, step=distribution.step, log=distribution.log)
        case IntDistribution():
            bounds = distribution.low, distribution.high
            return trial.suggest_int(name, *bounds, step=distribution.step, log=distribution.log)
        case CategoricalDistribution():
            return trial.suggest_categorical(name, distribution.choices)
        case _:
            raise SpaceError(f"{name} is drawn from {distribution}; allowed: suggest_float, _int and _categorical")


class _Known:
    """Chooses the value that is known, else what the space's prior recommends, else the middle of the range.

    Attributes:
        outside: the names of known values that the distribution does not contain.
    """

    def __init__(self, values: Mapping[str, Any], priors: Mapping[str, Prior]) -> None:
        self._values, self._priors = values, priors
        self.outside: set[str] = set()

    def __call__(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self._values:
            prior = self._priors.get(name)
            if prior is not None:
                return prior.centre_in(distribution, self._values)
            return distributions_of.middle(distribution)
        value = _shown(distribution, self._values[name])
        if contains(distribution, value):
            return value
        self.outside.add(name)
        if isinstance(distribution, FloatDistribution | IntDistribution) and _is_number(value):
            return distributions_of.nearest(distribution, value)
        return distributions_of.middle(distribution)


class _Listed:
    """Chooses as `chosen` has it, and the first value of everything else; notes what else could have been chosen."""

    def __init__(self, chosen: dict[str, Any], limit: int) -> None:
        self._chosen, self._limit = chosen, limit
        self.others: list[dict[str, Any]] = []
        self.endless = False

    def __call__(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self._chosen:
            values = distributions_of.values(distribution)
            if values is None or len(values) > self._limit:
                self.endless = True
                return distributions_of.middle(distribution)
            self.others += [{**self._chosen, name: other} for other in values[1:]]
            self._chosen[name] = values[0]
        return self._chosen[name]


def _drawn(fields: Fields, trial: SpaceTrial, fixed: Mapping[str, Any] | None) -> Draw:
    params = {name: value for name, value in trial.params.items() if name not in (fixed or {})}
    return Draw(fields, params, {name: trial.distributions[name] for name in params})


def _shown(distribution: BaseDistribution, value: Any) -> Any:
    """`value` as Optuna would be shown it."""
    value = plain(value)
    return _label(value) if isinstance(distribution, CategoricalDistribution) else value


def _label(choice: Any) -> Any:
    """What Optuna and the event log are shown of a choice."""
    if choice is None or isinstance(choice, bool | int | float | str):
        return choice
    return one_line(getattr(choice, "__name__", choice))


def _is_number(value: Any) -> bool:
    """Not for infinity, NaN, and integers that no float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _equal(one: Any, other: Any) -> bool:
    """Equal up to the rounding of a derived value."""
    if _is_number(one) and _is_number(other):
        return isclose(one, other, rel_tol=1e-9)
    return type(one) is type(other) and bool(one == other)


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
