"""Recipes that did best in earlier studies, to start a search from.

    problem = replace(problem, starts=starting_points(problem, 2))

Each says which study it comes from. They were chosen among the best of that study to be different from each other:
schedule, batch size, padding, widths. None of them is used where the space of a search cannot draw it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces import SpaceError
from study.search.problem import SearchProblem


@dataclass(frozen=True)
class PastRecipe:
    """The fields of a recipe that its study varied, and the study."""

    fields: Mapping[str, Any]
    source: str


_CURVES = "benchmarks/curves.csv, recipe {} of 60 of cnn-wide: {:.2%} (validation) after 27 epochs on 4,000 images"
PORTFOLIO: tuple[PastRecipe, ...] = (
    PastRecipe(
        {
            "lr": 0.0154, "momentum": 0.929, "weight_decay": 6.5e-4, "batch_size": 32, "channels": "32-64",
            "padding": "same", "hidden": "128", "dropout": 0.035, "label_smoothing": 0.16, "schedule": "cosine",
            "flip": "random", "translate": 2, "cutout": 8,
        },
        _CURVES.format(37, 0.6484),
    ),
    PastRecipe(
        {
            "lr": 0.241, "momentum": 0.82, "weight_decay": 1.7e-4, "batch_size": 256, "channels": "32-64",
            "padding": "valid", "hidden": "128", "dropout": 0.16, "label_smoothing": 0.011, "schedule": "one_cycle",
            "flip": "none", "translate": 4, "cutout": 8,
        },
        _CURVES.format(41, 0.5854),
    ),
    PastRecipe(
        {
            "lr": 0.0608, "momentum": 0.855, "weight_decay": 8.4e-4, "batch_size": 32, "channels": "16-32",
            "padding": "same", "hidden": "256", "dropout": 0.347, "label_smoothing": 0.069, "schedule": "cosine",
            "flip": "random", "translate": 4, "cutout": 0,
        },
        _CURVES.format(30, 0.6070),
    ),
)  # fmt: skip


def starting_points(problem: SearchProblem, count: int) -> list[Mapping[str, Any]]:
    """The first `count` recipes of PORTFOLIO that the problem's space can draw; their Recipe fields."""
    return [past.fields for past in PORTFOLIO if can_draw(problem, past.fields)][:count]


def can_draw(problem: SearchProblem, fields: Mapping[str, Any]) -> bool:
    """Whether the space could have drawn exactly these Recipe fields, around the problem's base recipe."""
    params = problem.draw_known(fields).params
    try:
        again = problem.draw(lambda name, distribution: params[name], 0).fields
    except SpaceError:  # a value that none of its ranges has
        return False
    drawn = problem.base.as_dict() | again
    return all(drawn[name] == value for name, value in fields.items())
