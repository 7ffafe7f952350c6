"""Optuna's side of the search: which recipe to try next, and what it learns from each trial.

Written on Ray's Searcher and Optuna's ask-and-tell, not on Ray's OptunaSearch: that one tells every trial that ASHA
stopped as COMPLETE, so that TPE compares accuracies of different epochs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search_spaces import Space, SpaceError
from study.asha import EPOCH, METRIC
from study.models import require_weights
from study.recipe import Recipe, RecipeError
from study.record import Event, OfThisProcess

CHECKED_DRAWS = 20
STATE_OF = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Suggestion:
    """One trial as the search asked for it: the fields that the space drew, its whole Recipe, Optuna's side of it."""

    number: int
    config: dict[str, Any]
    recipe: Recipe
    trial: optuna.Trial


@dataclass(frozen=True)
class Question:
    """What is varied and around what: the space, the Recipe that gives all other fields, and the seed."""

    space: Space
    space_name: str
    base: Recipe
    max_epochs: int
    seed: int

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
            SpaceError: the space raises, draws a field that no Recipe has, a value that it refuses, or a knob that
                never means anything.
            WeightsError: a drawn recipe is pretrained, and its weights cannot be had.
        """
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        idle: set[str] | None = None
        for _ in range(CHECKED_DRAWS):
            trial = study.ask()
            recipe = self.recipe(0, self.draw(trial))
            require_weights(recipe)
            now = {name: why for name, why in recipe.meaningless().items() if name in trial.params}
            idle = set(now) if idle is None else idle & set(now)
            reasons = now
        for name in idle or ():
            raise SpaceError(f"space {self.space_name} varies {name!r}, which means nothing while {reasons[name]}")

    def draw(self, trial: Any) -> dict[str, Any]:
        """The fields that the space draws from an Optuna trial.

        Raises:
            SpaceError: the space itself raises, or returns no dict of fields.
        """
        try:
            config = self.space(trial)
        except (SpaceError, optuna.TrialPruned):
            raise
        except Exception as error:
            raise SpaceError(f"space {self.space_name} raised {type(error).__name__}: {error}") from error
        if not isinstance(config, dict):
            raise SpaceError(f"space {self.space_name} returned {config!r}; allowed: a dict of Recipe fields")
        return config


class OptunaSearcher(OfThisProcess, Searcher):
    """Suggests trials to Ray Tune from an Optuna study, and tells the study what became of them.

    A suggestion depends on the seed, the trial's number and what the study has been told, and on nothing else, so that
    a study rebuilt from its record goes on as it would have.

    Args:
        study: fresh, or rebuilt by `rebuild`.
        question: what to draw.
        samples: how many trials the study has in the end.
        unfinished: trials of an earlier process to go on with, before any new one.
        on_suggestion: called with each new Suggestion before it is given to Ray.
    """

    def __init__(
        self,
        study: optuna.Study,
        question: Question,
        samples: int,
        unfinished: Sequence[Suggestion],
        on_suggestion: Callable[[Suggestion], None],
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._study, self._question, self._samples = study, question, samples
        self._unfinished = list(unfinished)
        self._on_suggestion = on_suggestion
        self._running: dict[str, Suggestion] = {}

    def suggest(self, trial_id: str) -> Any:
        if self._unfinished:
            suggestion = self._unfinished.pop(0)
        elif len(self._study.get_trials(deepcopy=False)) < self._samples:
            suggestion = ask(self._study, self._question)
            self._on_suggestion(suggestion)
        else:
            return Searcher.FINISHED
        self._running[trial_id] = suggestion
        return {"number": suggestion.number, "recipe": suggestion.recipe.as_dict()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if METRIC in result and "diverged" not in result:
            self._running[trial_id].trial.report(result[METRIC], result[EPOCH])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._running[trial_id].trial
        if error or result is None or "diverged" in result:
            tell(self._study, trial.number, "failed", None)
            return
        self.on_trial_result(trial_id, result)
        completed = result[EPOCH] >= self._question.max_epochs
        tell(self._study, trial.number, "completed" if completed else "stopped", result[METRIC])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is what a study is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its record")


def ask(study: optuna.Study, question: Question, config: dict[str, Any] | None = None) -> Suggestion:
    """The next trial of `study`: as the sampler likes, or one whose drawn fields are known already.

    Trial 0 is always the base Recipe itself. Where the space's range leaves one of its values out, Optuna is not told
    of that one, as it could not have drawn it.
    """
    number = len(study.get_trials(deepcopy=False))
    known = config if config is not None else question.base.as_dict() if number == 0 else None
    if known is None:
        # A fresh sampler each time: its generator's state would be lost with the process.
        study.sampler = sampler(derived_seed(question.seed, number))
        trial = study.ask()
        drawn = question.draw(trial)
    else:
        study.enqueue_trial(known)
        trial = study.ask()
        drawn = question.draw(_Known(trial, known))
    if number == 0:
        drawn = {name: getattr(question.base, name) for name in drawn}
    elif config is not None:
        drawn = config
    return Suggestion(number, drawn, question.recipe(number, drawn), trial)


def sampler(seed: int) -> optuna.samplers.BaseSampler:
    """TPE. Running trials count as bad ones (constant liar), so that trials side by side do not try the same thing."""
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def tell(study: optuna.Study, number: int, status: str, accuracy: float | None) -> None:
    """Tells `study` how trial `number` ended; a stopped one is PRUNED, with the steps it reported."""
    state = STATE_OF[status]
    study.tell(number, accuracy if state == TrialState.COMPLETE else None, state=state)


def rebuild(database: Path, question: Question, events: Iterable[Event]) -> tuple[optuna.Study, list[Suggestion]]:
    """The Optuna study in `database` (a new file; an old one is replaced) with all that `events` say.

    Returns:
        The study, and the trials that have not ended.
    """
    database.unlink(missing_ok=True)
    study = optuna.create_study(study_name="study", storage=f"sqlite:///{database}", direction="maximize")
    open_trials: dict[int, Suggestion] = {}
    last: dict[int, float] = {}
    for event in events:
        number = event["number"]
        if event["event"] == "trial":
            open_trials[number] = ask(study, question, event["config"])
        elif event["event"] == "epoch":
            last[number] = event[METRIC]
            open_trials[number].trial.report(event[METRIC], event["training_iteration"])
        elif event["event"] == "end":
            del open_trials[number]
            tell(study, number, event["status"], last.get(number))
    return study, list(open_trials.values())


def derived_seed(seed: int, number: int) -> int:
    """A seed for one trial, from the study's seed and the trial's number (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


class _Known:
    """An Optuna trial whose values are known: those outside the space's range go by without Optuna being told."""

    def __init__(self, trial: optuna.Trial, values: dict[str, Any]) -> None:
        self._trial, self._values = trial, values

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        inside = low <= self._values[name] <= high
        return self._trial.suggest_float(name, low, high, **options) if inside else self._values[name]

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        inside = low <= self._values[name] <= high
        return self._trial.suggest_int(name, low, high, **options) if inside else self._values[name]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        inside = self._values[name] in choices
        return self._trial.suggest_categorical(name, choices) if inside else self._values[name]
