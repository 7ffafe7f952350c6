"""What can be asked of any Optuna distribution: what it contains, what lies nearest, its middle, its words."""

import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

# Optuna's own tolerance, in steps, for a value on a grid.
OFF_STEP = 1e-8


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether `distribution` can give `value`; True is not 1 here, and a value between two steps is not contained."""
    match distribution:
        case CategoricalDistribution():
            return any(_same_choice(value, choice) for choice in distribution.choices)
        case FloatDistribution() | IntDistribution():
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            if not distribution.low <= value <= distribution.high:
                return False
            steps = 0.0 if distribution.step is None else (value - distribution.low) / distribution.step
            return abs(steps - round(steps)) < OFF_STEP
        case _:
            return False


def nearest(distribution: FloatDistribution | IntDistribution, value: float) -> float | int:
    """What `distribution` can give that is nearest to the number `value`: an int for integers, else a float."""
    low, high = distribution.low, distribution.high
    inside = min(max(value, low), high)
    if distribution.step is not None:
        steps = min(round((inside - low) / distribution.step), math.floor((high - low) / distribution.step + OFF_STEP))
        inside = low + steps * distribution.step
    return int(inside) if isinstance(distribution, IntDistribution) else float(min(inside, high))


def middle(distribution: BaseDistribution) -> Any:
    """The middle of a range, on a logarithmic scale where it has one; of several choices the first one."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    return nearest(distribution, math.sqrt(low) * math.sqrt(high) if distribution.log else low / 2 + high / 2)


def values(distribution: BaseDistribution) -> tuple[Any, ...] | range | None:
    """All that `distribution` can give, in order; None where that is a continuum."""
    match distribution:
        case CategoricalDistribution():
            return tuple(dict.fromkeys(distribution.choices))
        case IntDistribution():
            return range(distribution.low, distribution.high + 1, distribution.step)
        case FloatDistribution() if distribution.low == distribution.high:
            return (distribution.low,)
        case FloatDistribution() if distribution.step is not None:
            count = math.floor((distribution.high - distribution.low) / distribution.step + OFF_STEP) + 1
            return tuple(nearest(distribution, distribution.low + i * distribution.step) for i in range(count))
        case _:
            return None


def hull(one: BaseDistribution, other: BaseDistribution) -> BaseDistribution | None:
    """The smallest range that holds both; None where no one range can."""
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
    return None


def in_words(distribution: BaseDistribution) -> str:
    """What `distribution` can give, such as `0.001 to 0.1, logarithmic` or `sgd, adam`."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(str(choice) for choice in distribution.choices)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return str(distribution)
    words = f"{distribution.low:g} to {distribution.high:g}"
    if distribution.log:
        return f"{words}, logarithmic"
    every = isinstance(distribution, IntDistribution) and distribution.step == 1
    return words if every or distribution.step is None else f"{words} by {distribution.step:g}"


def plain(value: Any) -> Any:
    """A numpy scalar as Python's own number, text or truth value; anything else as it is."""
    scalar = isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0)
    return value.item() if scalar else value


def _same_choice(value: Any, choice: Any) -> bool:
    if isinstance(value, bool) or isinstance(choice, bool):
        return value is choice
    both_nan = isinstance(value, float) and isinstance(choice, float) and value != value and choice != choice
    return both_nan or bool(value == choice)
