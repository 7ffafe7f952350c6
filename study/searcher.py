"""Optuna's side of the search: which recipe to try next, and what it learns from each trial.

Written on Ray's Searcher and Optuna's ask-and-tell, not on Ray's OptunaSearch: that one tells every trial that ASHA
stopped as COMPLETE, so that TPE compares accuracies of different epochs.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

import search_spaces
from results import Run
from search_spaces import Space, SpaceError
from study.asha import ASHA, EPOCH, METRIC
from study.models import require_weights
from study.recipe import Recipe, RecipeError
from study.record import Event, OfThisProcess, RecordError

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


class Past(TypedDict):
    """A finished trial of another study, JSON-ready: its whole recipe, how it ended, its validation accuracies."""

    recipe: dict[str, Any]
    status: str
    accuracies: list[float]


@dataclass(frozen=True)
class Question:
    """What is varied and around what: the space, the Recipe that gives all other fields, and the seed.

    Attributes:
        fixed: fields that the whole study has at one value, whatever the space would draw; `base` has them too.
        method: "tpe", or "random" for a control.
        history: finished trials of another study, which the sampler knows from the start; they have no number here.
    """

    space: Space
    space_name: str
    base: Recipe
    max_epochs: int
    seed: int
    fixed: Mapping[str, Any] = field(default_factory=dict)
    method: Literal["tpe", "random"] = "tpe"
    history: Sequence[Past] = ()

    def numbered(self, study: optuna.Study) -> int:
        """How many trials of its own `study` has, running ones among them: the number of the next one."""
        return len(study.get_trials(deepcopy=False)) - len(self.history)

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
                never means anything; it cannot give what is fixed, what is fixed never means anything, or nothing is
                left to vary.
            WeightsError: a drawn recipe is pretrained, and its weights cannot be had.
        """
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        idle: dict[str, str] | None = None
        drawn: set[str] = set()
        for _ in range(CHECKED_DRAWS):
            trial = study.ask()
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

    def draw(self, trial: Any) -> dict[str, Any]:
        """The fields that the space draws from an Optuna trial, around those that are fixed.

        Raises:
            SpaceError: the space itself raises, returns no dict of fields, or cannot give what is fixed.
        """
        try:
            return search_spaces.draw(self.space, trial, self.fixed)
        except SpaceError as error:
            raise SpaceError(f"space {self.space_name}: {error}") from error


def knobs_as_json(question: Question) -> dict[str, Any]:
    """What the question varies: field -> Optuna's own JSON of its distribution, as an object."""
    found = search_spaces.knobs(question.space, question.fixed)
    return {
        name: json.loads(optuna.distributions.distribution_to_json(distribution))
        for name, distribution in found.items()
    }


class OptunaSearcher(OfThisProcess, Searcher):
    """Hands Ray Tune the trial that a free slot is for, and tells the Optuna study what became of it.

    That is one which an earlier process left between two rungs, else one that ASHA promotes, else a new one. A
    suggestion depends on the seed, the trial's number and what the study has been told, and on nothing else, so that a
    study rebuilt from its record goes on as it would have.

    Args:
        study: fresh, or rebuilt by `rebuild`.
        question: what to draw.
        asha: knows the trials that rest, and is told when no more begin.
        may_begin: whether the trial of this number may still begin.
        unfinished: trials of an earlier process, resting ones among them.
        on_suggestion: called with each new Suggestion before it is given to Ray.
    """

    def __init__(
        self,
        study: optuna.Study,
        question: Question,
        asha: ASHA,
        may_begin: Callable[[int], bool],
        unfinished: Sequence[Suggestion],
        on_suggestion: Callable[[Suggestion], None],
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._study, self._question, self._asha, self._may_begin = study, question, asha, may_begin
        self._begun = {suggestion.number: suggestion for suggestion in unfinished}
        self._between_rungs = [number for number in self._begun if number not in asha.resting()]
        self._on_suggestion = on_suggestion
        self._running: dict[str, Suggestion] = {}
        self._ask_whether_more_begin()
        # Of each unfinished trial, the last epoch that Optuna knows of.
        trials = study.get_trials(deepcopy=False)[len(question.history) :]
        self._told = {number: trial.last_step or 0 for number, trial in enumerate(trials)}

    def suggest(self, trial_id: str) -> Any:
        more_begin = self._ask_whether_more_begin()
        if self._between_rungs:
            suggestion = self._begun[self._between_rungs.pop(0)]
        elif (promoted := self._asha.promotable()) is not None:
            suggestion = self._begun[promoted]
        elif more_begin:
            suggestion = ask(self._study, self._question, resting=self._asha.resting())
            self._begun[suggestion.number] = suggestion
            self._on_suggestion(suggestion)
            self._ask_whether_more_begin()
        else:
            # What runs now may come to a rung and have another one promoted.
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = suggestion
        recorded = self._told.get(suggestion.number, 0)
        return {"number": suggestion.number, "recipe": suggestion.recipe.as_dict(), "recorded": recorded}

    def _ask_whether_more_begin(self) -> bool:
        more_begin = self._may_begin(self._question.numbered(self._study))
        if not more_begin:
            self._asha.no_more_begin()
        return more_begin

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        suggestion = self._running[trial_id]
        # An epoch trained again, from a checkpoint that is older than the record, is known already.
        if METRIC in result and "diverged" not in result and result[EPOCH] > self._told.get(suggestion.number, 0):
            suggestion.trial.report(result[METRIC], result[EPOCH])
            self._told[suggestion.number] = result[EPOCH]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the study how the trial ended, if it has; one that was stopped before its last epoch rests."""
        number = self._running[trial_id].number
        if error or result is None or "diverged" in result:
            tell(self._study, self._question, number, "failed", None)
        else:
            self.on_trial_result(trial_id, result)
            if result[EPOCH] >= self._question.max_epochs:
                tell(self._study, self._question, number, "completed", result[METRIC])
        del self._running[trial_id]

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is what a study is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its record")


def ask(
    study: optuna.Study, question: Question, config: dict[str, Any] | None = None, resting: Collection[int] = ()
) -> Suggestion:
    """The next trial of `study`: as the sampler likes, or one whose drawn fields are known already.

    Trial 0 is always the base Recipe itself. Where the space's range leaves one of its values out, Optuna is not told
    of that one, as it could not have drawn it.

    Args:
        resting: numbers of trials that rest at a rung. The sampler sees them as pruned ones: to Optuna they are still
            running, and running trials count as bad ones.
    """
    number = question.numbered(study)
    known = config if config is not None else question.base.as_dict() if number == 0 else None
    if known is None:
        known = question.draw(_as_seen(study, question, resting).ask())
    study.enqueue_trial(known)
    trial = study.ask()
    drawn = question.draw(_Known(trial, known))
    if number == 0:
        drawn = {name: getattr(question.base, name) for name in drawn}
    elif config is not None:
        drawn = config
    return Suggestion(number, drawn, question.recipe(number, drawn), trial)


def _as_seen(study: optuna.Study, question: Question, resting: Collection[int]) -> optuna.Study:
    """A copy of `study` in memory, where resting trials are pruned ones, with the sampler of the next trial."""
    # A fresh sampler each time: its generator's state would be lost with the process.
    seen = optuna.create_study(
        direction="maximize", sampler=sampler(question.method, derived_seed(question.seed, question.numbered(study)))
    )
    pruned = {len(question.history) + number for number in resting}
    for trial in study.get_trials(deepcopy=False):  # add_trial makes a copy of its own
        if trial.number in pruned:
            trial = copy(trial)
            trial.state, trial.datetime_complete = TrialState.PRUNED, trial.datetime_start
        seen.add_trial(trial)
    return seen


def sampler(method: Literal["tpe", "random"], seed: int) -> optuna.samplers.BaseSampler:
    """TPE, or nothing but chance.

    For TPE running trials count as bad ones (constant liar), so that trials side by side do not try the same thing.
    """
    if method == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def tell(study: optuna.Study, question: Question, number: int, status: str, accuracy: float | None) -> None:
    """Tells `study` how trial `number` ended; a stopped one is PRUNED, with the steps it reported."""
    state = STATE_OF[status]
    study.tell(len(question.history) + number, accuracy if state == TrialState.COMPLETE else None, state=state)


def rebuild(database: Path, question: Question, events: Iterable[Event]) -> tuple[optuna.Study, list[Suggestion]]:
    """The Optuna study in `database` (a new file; an old one is replaced) with all that `events` say.

    Returns:
        The study, and the trials that have not ended.

    Raises:
        RecordError: the events are not in the order in which a study writes them.
    """
    database.unlink(missing_ok=True)
    study = optuna.create_study(study_name="study", storage=f"sqlite:///{database}", direction="maximize")
    _tell_history(study, question)
    open_trials: dict[int, Suggestion] = {}
    last: dict[int, float] = {}
    for event in events:
        number = event["number"]
        if event["event"] == "trial":
            if number != question.numbered(study):
                raise RecordError(f"the record is damaged: trial {number} is not the one that was to come")
            open_trials[number] = ask(study, question, event["config"])
        elif number not in open_trials:
            raise RecordError(f"the record is damaged: trial {number} goes on after its end, or never began")
        elif event["event"] == "epoch":
            last[number] = event[METRIC]
            open_trials[number].trial.report(event[METRIC], event["training_iteration"])
        elif event["event"] == "end":
            del open_trials[number]
            tell(study, question, number, event["status"], last.get(number))
    return study, list(open_trials.values())


def _tell_history(study: optuna.Study, question: Question) -> None:
    for past in question.history:
        study.enqueue_trial(past["recipe"])
        trial = study.ask()
        question.draw(_Known(trial, past["recipe"]))
        for epoch, accuracy in enumerate(past["accuracies"], 1):
            trial.report(accuracy, epoch)
        state = STATE_OF[past["status"]]
        study.tell(trial, past["accuracies"][-1] if state == TrialState.COMPLETE else None, state=state)


def history(run: Run, question: Question) -> list[Past]:
    """The finished trials of `run` that `question` could have asked: all that differs from its base, it varies."""
    study = optuna.create_study()
    found: list[Past] = []
    for number in map(int, run.trials.index[run.trials["epochs"] > 0]):
        recipe, status = run.recipe(number), run.trials["status"][number]
        if status == "running":
            continue
        drawn = question.draw(_Known(study.ask(), recipe))
        asked = question.base.as_dict() | {name: recipe[name] for name in drawn}
        if all(asked[name] == value for name, value in recipe.items() if name not in ("epochs", "seed")):
            of_trial = run.epochs[run.epochs["number"] == number].sort_values("training_iteration")
            found.append({"recipe": recipe, "status": status, "accuracies": of_trial["val_accuracy"].tolist()})
    return found


def derived_seed(seed: int, number: int) -> int:
    """A seed for one trial, from the study's seed and the trial's number (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


class _Known:
    """An Optuna trial whose values are known: those outside the space's range go by without Optuna being told."""

    def __init__(self, trial: optuna.Trial, values: dict[str, Any]) -> None:
        self._trial, self._values = trial, values

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        inside = low <= self._values[name] <= high
        return self._trial.suggest_float(name, low, high, **options) if inside else self._values[name]

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        inside = low <= self._values[name] <= high
        return self._trial.suggest_int(name, low, high, **options) if inside else self._values[name]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        inside = self._values[name] in choices
        return self._trial.suggest_categorical(name, choices) if inside else self._values[name]
