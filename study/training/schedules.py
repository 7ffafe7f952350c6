"""SCHEDULES: the shapes of the learning rate over a training that a Recipe may name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.recipe import Recipe


@dataclass(frozen=True)
class ScheduleEntry:
    """One shape.

    Attributes:
        factor: (progress in [0, 1) of what is left after the warm-up, recipe) -> what the peak rate is multiplied by.
        uses: the Recipe fields of which this schedule, unlike some others, makes use.
        warmup: share of the training in which the rate rises, where the Recipe's `warmup` is 0.
    """

    factor: "Callable[[float, Recipe], float]"
    uses: tuple[str, ...] = ()
    warmup: float = 0.0


def _constant(progress: float, recipe: "Recipe") -> float:
    return 1.0


def _step(progress: float, recipe: "Recipe") -> float:
    return recipe.gamma ** ((progress >= 0.5) + (progress >= 0.75))


def _cosine(progress: float, recipe: "Recipe") -> float:
    """Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts."""
    return (1 + math.cos(math.pi * progress)) / 2


def _triangular(progress: float, recipe: "Recipe") -> float:
    """Linear, to 0.07 of the peak (Jordan 2024, arXiv:2404.00498)."""
    return 1 - (1 - 0.07) * progress


SCHEDULES: dict[str, ScheduleEntry] = {
    "constant": ScheduleEntry(_constant),
    "step": ScheduleEntry(_step, uses=("gamma",)),
    "cosine": ScheduleEntry(_cosine),
    # A cosine after a rise over 0.3 of the training (Smith & Topin 2017, arXiv:1708.07120; torch's OneCycleLR).
    "one_cycle": ScheduleEntry(_cosine, warmup=0.3),
    "triangular": ScheduleEntry(_triangular, warmup=0.23),
}


def lr_factor(recipe: "Recipe", progress: float) -> float:
    """What the peak learning rate is multiplied by, at `progress` in [0, 1) of the training.

    During the warm-up it rises linearly from 1/25 to 1 (25 is the default div_factor of torch's OneCycleLR); the
    schedule's shape spans what is left.
    """
    schedule = SCHEDULES[recipe.schedule]
    warmup = recipe.warmup or schedule.warmup
    if progress < warmup:
        return 1 / 25 + (1 - 1 / 25) * progress / warmup
    return schedule.factor((progress - warmup) / (1 - warmup), recipe)
