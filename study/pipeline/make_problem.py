"""Builds the SearchProblem from the settings and the data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import results
import search_spaces
from search_spaces import SpaceError
from study.config import StudyConfig
from study.data import Dataset, ImageSpec
from study.errors import UsageError
from study.pipeline.find_run import find_recipe, find_run
from study.pipeline.trusted_code import check_recipe_code
from study.recipe import Recipe, parse
from study.search.portfolio import starting_points
from study.search.problem import PastTrial, SearchProblem, history, hyperparameters_as_json
from study.search.samplers import SAMPLERS
from study.search.schedulers import SCHEDULERS
from study.training.checks import check_network, check_recipe
from study.training.metrics import METRICS
from study.training.references import reference_of

CHECKED_DRAWS, TRIED_DRAWS = 20, 3
# Recipes of earlier studies that are tried after those of --recipe, where the space can draw them.
PORTFOLIO_STARTS = 2


def make_problem(config: StudyConfig, recorded: Mapping[str, Any] | None = None) -> SearchProblem:
    """What the settings ask to vary, checked by drawing from the space.

    Args:
        recorded: study.json of a run that is resumed; its warm start is taken from there.

    Raises:
        StudyError, SpaceError: it cannot be searched.
    """
    if config.grace_period > config.max_epochs:
        raise UsageError(f"--grace-period is {config.grace_period}; allowed: at most --max-epochs, {config.max_epochs}")
    if config.folds > 1 and config.finalists == 1:
        raise UsageError(f"--folds {config.folds} chooses among finalists; give --finalists, such as 3")
    _choice("scheduler", config.scheduler, SCHEDULERS)
    fixed = _fixed(config)
    starts = [
        check_recipe_code(name, find_recipe(name, config.runs_dir), config).with_fields(fixed) for name in config.recipe
    ]
    problem = SearchProblem(
        space=search_spaces.load(config.space),
        space_name=space_name(config.space),
        base=starts[0],
        max_epochs=config.max_epochs,
        seed=config.seed,
        fixed=fixed,
        sampler=_choice("sampler", config.sampler, SAMPLERS),
        starts=[recipe.as_dict() for recipe in starts[1:]],
        own_trainer=config.trainer is not None,
        metric=METRICS[_choice("metric", config.metric, METRICS)],
    )
    if recorded is not None:
        warm = recorded.get("warm_start")
        problem = replace(problem, history=warm["trials"] if warm else ())
    elif config.warm_start:
        problem = replace(problem, history=_history(config, problem))
    problem.check()
    if config.sampler == "prior":
        problem = replace(problem, starts=[*problem.starts, *starting_points(problem, PORTFOLIO_STARTS)])
    return problem


def space_name(space: Any) -> str:
    """What a space is called in a run: as it was given, or the name of the function."""
    return space if isinstance(space, str) else getattr(space, "__qualname__", type(space).__qualname__)


def _choice(setting: str, name: str, registry: Mapping[str, Any]) -> str:
    if name not in registry:
        raise UsageError(f"--{setting} is {name!r}; allowed: {', '.join(registry)}")
    return name


def _fixed(config: StudyConfig) -> dict[str, Any]:
    """The fields of --fix, each with the type of its field."""
    owners = {"epochs": "--max-epochs and --final-epochs", "seed": "--seed"}
    for name in config.fix:
        if name in owners:
            raise UsageError(f"--fix {name} is not allowed; use {owners[name]}")
    fixed = {name: parse(name, value) if isinstance(value, str) else value for name, value in config.fix.items()}
    return fixed | ({} if config.model is None else {"model": reference_of(config.model)})


def _history(config: StudyConfig, problem: SearchProblem) -> list[PastTrial]:
    """The finished trials of all --warm-start runs that this study could have drawn."""
    found: list[PastTrial] = []
    for each in config.warm_start:
        run = results.load_run(find_run(each, config.runs_dir))
        for name, mine in (("max_epochs", config.max_epochs), ("metric", config.metric)):
            theirs = run.metric.name if name == "metric" else run.study[name]
            if theirs != mine:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"--warm-start {run.path} had {flag} {theirs}, this study has {mine}")
        found += history(run, problem)
    if not found:
        raise UsageError(f"--warm-start {', '.join(map(str, config.warm_start))}: no finished trial fits this study")
    return found


def adapt_to_images(problem: SearchProblem, dataset: Dataset) -> SearchProblem:
    """The problem for these images: no mirrored images where a mirror image is another class, such as of digits.

    Raises:
        StudyError, SpaceError: a recipe does not fit the images.
    """
    if not dataset.allows_flip and "flip" not in problem.fixed:
        none = {"flip": "none"}
        pinned = replace(problem, fixed={**problem.fixed, **none}, base=problem.base.with_fields(none))
        try:
            pinned.check()
            problem = pinned
        except SpaceError:
            pass  # the space sets flip itself
    if not problem.own_trainer:
        for recipe in [problem.base, *sample_recipes(problem, CHECKED_DRAWS)]:
            check_recipe(recipe, dataset.spec)
    return problem


def recipes_to_try(problem: SearchProblem) -> list[Recipe]:
    """The base recipe and some draws, with which networks and trainers of the user's own are tried."""
    return [problem.base, *sample_recipes(problem, TRIED_DRAWS)]


def check_own_networks(recipes: Sequence[Recipe], spec: ImageSpec) -> list[str]:
    """Takes one step with each network that is not a family of ours.

    Returns:
        Lines for the user: how a network was adapted to the images.

    Raises:
        ModelError, RecipeError: a network cannot be trained; the message names it and the reason.
    """
    own = [recipe for recipe in recipes if ":" in recipe.model]
    notes = {recipe.model: check_network(recipe, spec).note for recipe in own}
    return [f"Network {model}: {note}" for model, note in notes.items() if note]


def problem_as_json(problem: SearchProblem) -> dict[str, Any]:
    """The part of study.json that says what is searched."""
    metric = problem.metric
    return {
        "space": problem.space_name,
        "knobs": hyperparameters_as_json(problem),
        "base": problem.base.as_dict(),
        "seed": problem.seed,
        "metric": {"name": metric.name, "mode": metric.mode, "format": metric.format},
    }


def sample_recipes(problem: SearchProblem, count: int) -> list[Recipe]:
    """`count` Recipes of the space, drawn at random."""
    draws = search_spaces.draws(problem.space, count, problem.seed, problem.fixed)
    return [problem.recipe(0, draw.fields) for draw in draws]


def check_same_problem(problem: SearchProblem, recorded: Mapping[str, Any], run_dir: Path) -> None:
    """A resumed study searches what it began with.

    Raises:
        UsageError: the space draws something else, or the recipe has changed.
    """
    content = problem_as_json(problem)
    knobs, base = content["knobs"], content["base"]
    if knobs == recorded["knobs"] and {**base, **recorded["base"]} == base:
        return
    changed = sorted(name for name in {*knobs, *recorded["knobs"]} if knobs.get(name) != recorded["knobs"].get(name))
    what = f"space {problem.space_name} draws {', '.join(changed)}" if changed else "the recipe of trial 0 is given"
    raise UsageError(f"{what} differently than when {run_dir} began, and cannot change when it is resumed")
