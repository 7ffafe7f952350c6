"""What Optuna is told of a search: all that its record says, event by event, and nothing else.

Optuna's study is in memory. `OptunaDatabase` writes another one to optuna.db, for whoever reads it there.
"""

import copy
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from search_spaces import register
from study.errors import EventLogError
from study.recipe import Recipe
from study.search.asha import METRIC
from study.search.problem import PastTrial, SearchProblem, derived_seed
from study.storage.event_log import Event

# Attributes in which TPESampler, with constant_liar, keeps what it means to draw; here that is drawn at once.
NOTED_BY_TPE = "tpe:relative_params"
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


class OptunaStudy:
    """An Optuna study that has been told a record's events, and is told each new one.

    A suggestion depends on the seed, the trial's number and what the study has been told, and on nothing else, so that
    a study rebuilt from its record goes on as it would have.

    Args:
        question: what to draw.
        storage: a new one, as optuna.create_study takes it.
        events: of the record so far.

    Attributes:
        study: Optuna's; the trials of `question.history` come first.
        begun: how many trials have begun: the number of the next one.
        unfinished: those of them that have not ended, by number.
        recorded: the last epoch of each that has one.

    Raises:
        EventLogError: the events are not in the order in which a study writes them.
    """

    def __init__(self, question: SearchProblem, storage: str | BaseStorage, events: Iterable[Event] = ()) -> None:
        self.study = optuna.create_study(study_name="study", storage=storage, direction="maximize")
        self.begun = 0
        self.unfinished: dict[int, Suggestion] = {}
        self.recorded: dict[int, int] = {}
        self._question = question
        self._last: dict[int, float] = {}
        self._asked: int | None = None
        for past in question.history:
            self._tell_past(past)
        for event in events:
            self(event)

    def ask(self) -> Suggestion:
        """The next trial, as the sampler likes; trial 0 is the base Recipe itself.

        Where the space's range leaves one of the base's values out, Optuna is not told of that one, as it could not
        have drawn it.
        """
        question = self._question
        if self.begun == 0:
            trial, config = self._ask_known(question.base.as_dict())
        else:
            # A fresh sampler each time: its generator's state would be lost with the process.
            self.study.sampler = sampler(question.method, derived_seed(question.seed, self.begun))
            trial = self.study.ask()
            config = question.draw(trial).fields
        self._asked = self.begun
        return self._begin(config, trial)

    def __call__(self, event: Event) -> None:
        """Tells Optuna what `event` says; that a trial has begun which was asked for here, it knows.

        Raises:
            EventLogError: the event cannot be the next one.
        """
        number = event["number"]
        if event["event"] == "trial":
            if number != self._asked:
                if number != self.begun:
                    raise EventLogError(f"the record is damaged: trial {number} is not the one that was to come")
                self._begin(event["config"], self._ask_known(event["config"])[0])
            self._asked = None
        elif number not in self.unfinished:
            raise EventLogError(f"the record is damaged: trial {number} goes on after its end, or never began")
        elif event["event"] == "epoch":
            self.recorded[number], self._last[number] = event["training_iteration"], event[METRIC]
            self.unfinished[number].trial.report(event[METRIC], event["training_iteration"])
        elif event["event"] == "end":
            self._tell(self.unfinished.pop(number).trial, event["status"], self._last.get(number))

    def _begin(self, config: dict[str, Any], trial: optuna.Trial) -> Suggestion:
        suggestion = Suggestion(self.begun, config, self._question.recipe(self.begun, config), trial)
        self.unfinished[self.begun] = suggestion
        self.begun += 1
        return suggestion

    def _ask_known(self, values: dict[str, Any]) -> tuple[optuna.Trial, dict[str, Any]]:
        """A trial with these values, and the fields that the space gives for them."""
        draw = self._question.draw_known(values, number=self.begun)
        return register(self.study, draw), draw.fields

    def _tell(self, trial: optuna.Trial, status: str, accuracy: float | None) -> None:
        """A stopped trial is PRUNED, with the steps that it reported, and no COMPLETE one of fewer epochs."""
        state = STATE_OF[status]
        self.study.tell(trial, accuracy if state == TrialState.COMPLETE else None, state=state)

    def _tell_past(self, past: PastTrial) -> None:
        trial, _ = self._ask_known(past["recipe"])
        for epoch, accuracy in enumerate(past["accuracies"], 1):
            trial.report(accuracy, epoch)
        self._tell(trial, past["status"], past["accuracies"][-1])


class PausedAsPrunedStorage(InMemoryStorage):
    """Where a search's own study is kept: in memory, trials that rest at a rung among the pruned ones.

    To Optuna they are still running, and TPE counts running trials as bad ones.

    Args:
        paused: gives the numbers of the trials that rest now.
        before: how many trials of another study come before number 0.
    """

    def __init__(self, paused: Callable[[], Collection[int]], before: int) -> None:
        super().__init__()
        self._paused, self._before = paused, before

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states == (TrialState.WAITING,):  # asked for at each suggestion; the storage keeps these at hand
            return super().get_all_trials(study_id, deepcopy, states)
        trials = list(super().get_all_trials(study_id, deepcopy=False))
        for number in self._paused():
            trials[self._before + number] = _as_pruned(trials[self._before + number])
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """All but what TPE notes of a running trial, which one that is asked again from the record has not."""
        if not key.startswith(NOTED_BY_TPE):
            super().set_trial_system_attr(trial_id, key, value)


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    seen = copy.copy(trial)
    seen.state, seen.datetime_complete = TrialState.PRUNED, trial.datetime_start
    return seen


def sampler(method: Literal["tpe", "random"], seed: int) -> optuna.samplers.BaseSampler:
    """TPE, or nothing but chance.

    For TPE running trials count as bad ones (constant liar), so that trials side by side do not try the same thing.
    """
    if method == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


class OptunaDatabase:
    """optuna.db: a study on disk that is told the same events, from a thread of its own, as SQLite takes 60 ms a trial.

    It can be looked at while the search goes on (optuna-dashboard); nothing is ever read back from it. Use it as a
    context manager, at whose end all is written. What could not be ends the writing, and is said at the end.

    Raises:
        OSError: from a regular end, something could not be written.
    """

    def __init__(self, path: Path, question: SearchProblem, events: Sequence[Event]) -> None:
        self._path, self._question = path, question
        self._told: OptunaStudy | None = None
        self._failure: Exception | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._thread.submit(self._keeping, self._begin, list(events))

    def __call__(self, event: Event) -> None:
        """Has `event` written when the thread comes to it."""
        self._thread.submit(self._keeping, self._tell, event)

    def __enter__(self) -> "OptunaDatabase":
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()
        if self._failure is not None and exception[0] is None:
            reason = str(self._failure.__cause__ or self._failure).splitlines()[0]
            raise OSError(f"{self._path} cannot be written: {reason}") from None

    def _keeping(self, do: Callable[[Any], None], what: Any) -> None:
        """Does it unless something has failed before: what comes after a gap is told to no study."""
        if self._failure is None:
            try:
                do(what)
            except Exception as error:
                self._failure = error

    def _begin(self, events: Sequence[Event]) -> None:
        self._path.unlink(missing_ok=True)
        self._told = OptunaStudy(self._question, f"sqlite:///{self._path}", events)

    def _tell(self, event: Event) -> None:
        if self._told is not None:
            self._told(event)
