"""What is searched: which Recipe fields vary, around which Recipe, for which metric, from which seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import optuna
from optuna.samplers import RandomSampler

import search_spaces
from results import Run
from search_spaces import Space, SpaceError
from study.errors import RecipeError
from study.recipe import Recipe
from study.search.drawing import DrawnTrial, quiet_study
from study.training.metrics import METRICS, Metric
from study.training.models import require_weights

CHECKED_DRAWS = 20


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
        metric: what is optimized, in the direction of its mode.
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
    metric: Metric = METRICS["accuracy"]
    n_startup: int = 10

    def recipe(self, number: int, config: dict[str, Any]) -> Recipe:
        """The Recipe of trial `number` with the drawn fields `config`.

        Raises:
            SpaceError: a field or value that the Recipe refuses, with the space named.
        """
        try:
            fields = {"epochs": self.max_epochs, "seed": derived_seed(self.seed, number)}
            return self.base.with_fields({**config, **fields})
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
        study, sampler = quiet_study(), RandomSampler(seed=0)
        idle: dict[str, str] | None = None
        drawn: set[str] = set()
        for number in range(CHECKED_DRAWS):
            trial = DrawnTrial(study, number, sampler)
            recipe = self.recipe(0, self.draw(trial))
            require_weights(recipe)
            drawn |= set(trial.params)
            now = {name: why for name, why in recipe.meaningless().items() if name in {*trial.params, *self.fixed}}
            idle = now if idle is None else {name: why for name, why in now.items() if name in idle}
        for name, why in (idle or {}).items():
            said = f"--fix {name}" if name in self.fixed else f"varies {name!r}, which"
            raise SpaceError(f"space {self.space_name}: {said} means nothing while {why}")
        if not drawn:
            raise SpaceError(f"space {self.space_name} has nothing left to vary with {', '.join(self.fixed)} fixed")

    def draw(self, trial: DrawnTrial) -> dict[str, Any]:
        """The fields that the space gives for a trial, around those that are fixed.

        Raises:
            SpaceError: the space itself raises, returns no dict of fields, or cannot give what is fixed.
        """
        try:
            return search_spaces.draw(self.space, trial, self.fixed)  # type: ignore[arg-type]
        except SpaceError as error:
            raise SpaceError(f"space {self.space_name}: {error}") from error


def hyperparameters_as_json(problem: SearchProblem) -> dict[str, Any]:
    """What the problem varies: field -> Optuna's own JSON of its distribution, as an object."""
    found = search_spaces.knobs(problem.space, problem.fixed)
    return {
        name: json.loads(optuna.distributions.distribution_to_json(distribution))
        for name, distribution in found.items()
    }


def derived_seed(seed: int, *numbers: int) -> int:
    """A seed from the study's seed and numbers that say what it is for, such as a trial's (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1)[0])


def history(run: Run, problem: SearchProblem) -> list[PastTrial]:
    """The finished trials of `run` that `problem` could have suggested: all that differs from its base, it varies."""
    study, sampler = quiet_study(), RandomSampler(seed=0)
    found: list[PastTrial] = []
    for number in map(int, run.trials.index[run.trials["epochs"] > 0]):
        recipe, status = run.recipe(number), run.trials["status"][number]
        if status == "running":
            continue
        drawn = problem.draw(DrawnTrial(study, 0, sampler, known=recipe))
        suggested = problem.base.as_dict() | {name: recipe[name] for name in drawn}
        if all(suggested[name] == value for name, value in recipe.items() if name not in ("epochs", "seed")):
            of_trial = run.epochs[run.epochs["number"] == number].sort_values("training_iteration")
            values = of_trial[f"val_{problem.metric.name}"].tolist()
            found.append({"recipe": recipe, "status": status, "accuracies": values})
    return found
