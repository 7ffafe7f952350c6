"""What is searched: which Recipe fields vary, around which Recipe, for which metric, from which seed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import optuna

import search_spaces
from results import Run
from search_spaces import Choose, Draw, Space, SpaceError
from study.data.dataset import CIFAR10, ImageSpec
from study.errors import RecipeError
from study.recipe import Recipe
from study.training.checks import check_recipe
from study.training.metrics import METRICS, Metric
from study.training.models import require_weights


class PastTrial(TypedDict):
    """A finished trial of another study, JSON-ready: its full recipe, how it ended, its metric after each epoch."""

    recipe: dict[str, Any]
    status: str
    accuracies: list[float]


@dataclass(frozen=True)
class SearchProblem:
    """What is varied and around what: the space, the Recipe that gives all other fields, the metric and the seed.

    Attributes:
        fixed: fields that have one value in the whole study, whatever the space would draw; `base` has them too.
        sampler: a name in SAMPLERS, such as "tpe", or "random" for a control.
        history: finished trials of another study, which the sampler knows from the start; they have no number here.
        starts: Recipe fields of the trials that come after trial 0, before the sampler is asked.
        metric: what is optimized, in the direction of its mode.
        spec: size, channels and classes of the images, which each drawn Recipe must fit.
        own_trainer: whether a trainer of the user's own takes the Recipe: which fields it uses is not known.
        n_startup: trials that are drawn at random before TPE's model is used.
    """

    space: Space
    space_name: str
    base: Recipe
    max_epochs: int
    seed: int
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sampler: str = "tpe"
    history: Sequence[PastTrial] = ()
    starts: Sequence[Mapping[str, Any]] = ()
    metric: Metric = METRICS["accuracy"]
    spec: ImageSpec = CIFAR10
    own_trainer: bool = False
    n_startup: int = 10

    def recipe(self, number: int, config: dict[str, Any]) -> Recipe:
        """The Recipe of trial `number` with the drawn fields `config`.

        Raises:
            SpaceError: a field or value that the Recipe refuses, with the space named.
        """
        try:
            fields = {"epochs": self.max_epochs, "seed": derived_seed(self.seed, number)}
            recipe = self.base.with_fields({**config, **fields})
            if not self.own_trainer:
                check_recipe(recipe, self.spec)
            return recipe
        except RecipeError as error:
            raise SpaceError(f"space {self.space_name}: {error}") from None

    def check(self) -> None:
        """Draws from the space at random, so that a mistake in it shows before any training.

        Raises:
            SpaceError: the space raises, draws a field that no Recipe has, a value that it refuses, or a
                hyperparameter that never has an effect; it cannot give what is fixed, what is fixed never has an
                effect, or nothing is left to vary.
            WeightsError: a drawn recipe is pretrained, and its weights are not available.
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
            if not self.own_trainer:
                require_weights(recipe)
            if number <= len(known):
                continue
            drawn |= set(draw.params)
            unused = {} if self.own_trainer else recipe.unused_fields()
            now = {name: why for name, why in unused.items() if name in {*draw.params, *self.fixed}}
            idle = now if idle is None else {name: why for name, why in now.items() if name in idle}
        for name, why in (idle or {}).items():
            said = f"--fix {name}" if name in self.fixed else f"varies {name!r}, which"
            raise SpaceError(f"space {self.space_name}: {said} means nothing while {why}")
        if not drawn:
            fixed = f" with {', '.join(self.fixed)} fixed" if self.fixed else ""
            raise SpaceError(f"space {self.space_name} has nothing left to vary{fixed}")

    def draw(self, choose: Choose, number: int) -> Draw:
        """What the space draws for trial `number` where `choose` gives the values, around what is fixed.

        Raises:
            SpaceError: the space itself raises, returns no dict of fields, or cannot give what is fixed.
        """
        try:
            return search_spaces.draw_with(self.space, choose, self.fixed, number=number)
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


def hyperparameters_as_json(problem: SearchProblem) -> dict[str, Any]:
    """What the problem varies: name -> Optuna's own JSON of its distribution, as an object."""
    found = search_spaces.hyperparameters(problem.space, problem.fixed)
    return {
        name: json.loads(optuna.distributions.distribution_to_json(distribution))
        for name, distribution in found.items()
    }


def derived_seed(seed: int, *numbers: int) -> int:
    """A seed from the study's seed and numbers that say what it is for, such as a trial's (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1)[0])


def history(run: Run, problem: SearchProblem) -> list[PastTrial]:
    """The finished trials of `run` that `problem` could have suggested: all that differs from its base, it varies."""
    found: list[PastTrial] = []
    for number in map(int, run.trials.index[run.trials["epochs"] > 0]):
        recipe, status = run.recipe(number), run.trials["status"][number]
        if math.isnan(run.trials["ended"][number]):
            continue
        suggested = problem.base.as_dict() | problem.draw_known(recipe).fields
        if all(suggested[name] == value for name, value in recipe.items() if name not in ("epochs", "seed")):
            of_trial = run.epochs[run.epochs["number"] == number].sort_values("training_iteration")
            values = of_trial[f"val_{problem.metric.name}"].tolist()
            found.append({"recipe": recipe, "status": status, "accuracies": values})
    return found
