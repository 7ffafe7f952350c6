"""What a search asks: which Recipe fields vary, around which Recipe, from which seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np
import optuna

import search_spaces
from results import Run
from search_spaces import Draw, Space, SpaceError
from study.data.dataset import CIFAR10, ImageSpec
from study.errors import RecipeError
from study.recipe import Recipe
from study.training.checks import check_recipe
from study.training.models import require_weights


class PastTrial(TypedDict):
    """A finished trial of another study, JSON-ready: its whole recipe, how it ended, its validation accuracies."""

    recipe: dict[str, Any]
    status: str
    accuracies: list[float]


@dataclass(frozen=True)
class SearchProblem:
    """What is varied and around what: the space, the Recipe that gives all other fields, and the seed.

    Attributes:
        fixed: fields that the whole study has at one value, whatever the space would draw; `base` has them too.
        method: "tpe", or "random" for a control.
        history: finished trials of another study, which the sampler knows from the start; they have no number here.
        spec: size, channels and classes of the images, which each drawn Recipe must fit.
    """

    space: Space
    space_name: str
    base: Recipe
    max_epochs: int
    seed: int
    fixed: Mapping[str, Any] = field(default_factory=dict)
    method: Literal["tpe", "random"] = "tpe"
    history: Sequence[PastTrial] = ()
    spec: ImageSpec = CIFAR10

    def recipe(self, number: int, config: dict[str, Any]) -> Recipe:
        """The Recipe of trial `number` with the drawn fields `config`.

        Raises:
            SpaceError: a field or value that the Recipe refuses, with the space named.
        """
        try:
            fields = {"epochs": self.max_epochs, "seed": derived_seed(self.seed, number)}
            recipe = self.base.with_fields({**config, **fields})
            check_recipe(recipe, self.spec)
            return recipe
        except RecipeError as error:
            raise SpaceError(f"space {self.space_name}: {error}") from None

    def check(self) -> None:
        """Draws from the space at random, so that a mistake in it shows before any training.

        Raises:
            SpaceError: the space raises, draws a field that no Recipe has, a value that it refuses, or a knob that
                never means anything; it cannot give what is fixed, what is fixed never means anything, or nothing is
                left to vary.
            WeightsError: a drawn recipe is pretrained, and its weights cannot be had.
        """
        known = [past["recipe"] for past in self.history]
        try:
            draws = search_spaces.check(self.space, self.base.as_dict(), known, self.fixed)
        except SpaceError as error:
            raise SpaceError(f"space {self.space_name}: {error}") from error
        idle: dict[str, str] | None = None
        drawn: set[str] = set()
        for number, draw in enumerate(draws):
            recipe = self.recipe(0, draw.fields)
            require_weights(recipe)
            if number <= len(known):
                continue
            drawn |= set(draw.params)
            now = {name: why for name, why in recipe.unused_fields().items() if name in {*draw.params, *self.fixed}}
            idle = now if idle is None else {name: why for name, why in now.items() if name in idle}
        for name, why in (idle or {}).items():
            said = f"--fix {name}" if name in self.fixed else f"varies {name!r}, which"
            raise SpaceError(f"space {self.space_name}: {said} means nothing while {why}")
        if not drawn:
            fixed = f" with {', '.join(self.fixed)} fixed" if self.fixed else ""
            raise SpaceError(f"space {self.space_name} has nothing left to vary{fixed}")

    def draw(self, trial: optuna.Trial) -> Draw:
        """What the space draws from an Optuna trial, around what is fixed.

        Raises:
            SpaceError: the space itself raises, returns no dict of fields, or cannot give what is fixed.
        """
        try:
            return search_spaces.draw(self.space, trial, self.fixed, number=trial.number - len(self.history))
        except SpaceError as error:
            raise SpaceError(f"space {self.space_name}: {error}") from error

    def draw_known(self, known: Mapping[str, Any], params: Mapping[str, Any] | None = None, *, number: int = 0) -> Draw:
        """The draw that gives the recipe `known`; `params` are what was drawn for it, where that is known.

        Raises:
            SpaceError: as `draw`.
        """
        try:
            return search_spaces.draw_known(self.space, known, params, self.fixed, number=number)
        except SpaceError as error:
            raise SpaceError(f"space {self.space_name}: {error}") from error


def hyperparameters_as_json(question: SearchProblem) -> dict[str, Any]:
    """What the question varies: field -> Optuna's own JSON of its distribution, as an object."""
    found = search_spaces.hyperparameters(question.space, question.fixed)
    return {
        name: json.loads(optuna.distributions.distribution_to_json(distribution))
        for name, distribution in found.items()
    }


def derived_seed(seed: int, number: int) -> int:
    """A seed for one trial, from the study's seed and the trial's number (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def history(run: Run, question: SearchProblem) -> list[PastTrial]:
    """The finished trials of `run` that `question` could have asked: all that differs from its base, it varies."""
    found: list[PastTrial] = []
    for number in map(int, run.trials.index[run.trials["epochs"] > 0]):
        recipe, status = run.recipe(number), run.trials["status"][number]
        if status == "running":
            continue
        asked = question.base.as_dict() | question.draw_known(recipe).fields
        if all(asked[name] == value for name, value in recipe.items() if name not in ("epochs", "seed")):
            of_trial = run.epochs[run.epochs["number"] == number].sort_values("training_iteration")
            found.append({"recipe": recipe, "status": status, "accuracies": of_trial["val_accuracy"].tolist()})
    return found
