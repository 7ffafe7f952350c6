"""The Optuna study of a search: it learns what the events say, one by one, and suggests the next trial.

It is in memory. `OptunaDatabase` keeps a copy in optuna.db, for whoever reads it there.
"""

import os
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from results.events import EpochFinished, Event, Status, TrialEnded, TrialPaused, TrialPromoted, TrialStarted
from results.optuna_storage import opened
from search_spaces import Draw
from study.errors import EventLogError, UsageError
from study.recipe import Recipe
from study.search.problem import PastTrial, SearchProblem, derived_seed
from study.search.sampler_choice import SamplerChoice, quiet_optuna
from study.search.samplers import SAMPLERS
from study.search.search_storage import LATEST, SearchStorage

# Draws that may repeat a recipe before the space counts as exhausted: a few of the sampler's, then random ones.
SAMPLER_DRAWS, RANDOM_DRAWS = 5, 200
# Seconds that optuna.db waits for a reader to let go of it.
BUSY_TIMEOUT_S = 15.0
RUN = "run"  # the study's attribute in a database that says which run it is a copy of
STATE_OF: Mapping[Status, TrialState] = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Suggestion:
    """A trial that the search could begin next.

    Attributes:
        draw: the Recipe fields that the space set, and what it drew for them.
        recipe: the full Recipe, with the study's epochs and the trial's own seed.
    """

    number: int
    draw: Draw
    recipe: Recipe

    def started(self) -> TrialStarted:
        """The event that begins this trial. It has `params` only where `config` does not tell them."""
        config, params = self.draw.fields, self.draw.params
        told_by_config = all(name in config and config[name] == value for name, value in params.items())
        return TrialStarted(
            number=self.number,
            trial_id=f"trial_{self.number:05d}",
            config=config,
            seed=self.recipe.seed,
            params=None if told_by_config else params,
        )


class OptunaStudy:
    """Suggests trials, from the events that it has been given.

    A suggestion depends on the problem, the trial's number and the events so far, and on nothing else, so that a study
    rebuilt from its event log continues as it would have.

    Args:
        name: of the Optuna study; a run's name.
        events: of the event log so far.

    Attributes:
        begun: how many trials have begun: the number of the next one.
        unfinished: Recipes of the trials that have begun and not ended, by number.
        epochs: the last epoch of each trial that has one.

    Raises:
        EventLogError: the events are not in the order in which a study writes them.
    """

    def __init__(self, problem: SearchProblem, events: Iterable[Event] = (), name: str = "study") -> None:
        self.name = name
        self.begun = 0
        self.unfinished: dict[int, Recipe] = {}
        self.epochs: dict[int, int] = {}
        self._problem = problem
        self._storage = SearchStorage(max(LATEST, problem.n_startup))
        self._writer = _Writer(self._storage, problem, name)
        self._seen: set[Hashable] = set()
        self._suggestion: Suggestion | None = None
        self._before = len(problem.history)
        for place, past in enumerate(problem.history):
            self._writer.start(place - self._before, self._past(past))
        for event in events:
            self.apply(event)

    def study(self, sampler: BaseSampler | None = None) -> optuna.Study:
        """Optuna's study as it is now; the trials of `problem.history` come first."""
        return optuna.load_study(study_name=self.name, storage=self._storage, sampler=sampler)

    def ask(self) -> Suggestion | None:
        """The next trial; trial 0 is the base Recipe itself. None where the space has no recipe left that is new.

        It may be dropped: a trial begins with its TrialStarted event. Until then it is the same if asked again, and
        the space is called once.

        Raises:
            SpaceError: the space raises, or draws what no Recipe has.
        """
        if self._suggestion is None:
            self._suggestion = self._next()
        return self._suggestion

    def apply(self, event: Event) -> None:
        """Learns of `event`.

        Raises:
            EventLogError: the event cannot be the next one.
        """
        if isinstance(event, TrialStarted):
            if event.number != self.begun:
                raise EventLogError(f"the event log is damaged: trial {event.number} starts out of order")
            suggestion = self._suggestion
            if suggestion is None or suggestion.draw.fields != event.config:
                draw = self._problem.draw_known(event.config, event.params, number=self.begun)
                suggestion = self._suggested(replace(draw, fields=dict(event.config)))
            self._begin(suggestion)
            return
        if event.number not in self.unfinished:
            raise EventLogError(
                f"the event log is damaged: trial {event.number} continues after its end, or never began"
            )
        match event:
            case EpochFinished():
                self.epochs[event.number] = event.epoch
            case TrialPaused():
                self._storage.pause(self._writer.id_of(event.number))
            case TrialPromoted():
                self._storage.unpause(self._writer.id_of(event.number))
            case TrialEnded():
                del self.unfinished[event.number]
        self._writer.apply(event)

    def trials(self) -> dict[int, FrozenTrial]:
        """All trials as Optuna has them, by number; those of `problem.history` by negative numbers. Paused ones run."""
        return {trial.number - self._before: trial for trial in self._storage.running(self._writer.study_id)}

    def drawn(self, number: int) -> FrozenTrial:
        """What trial `number` drew, as a running trial that another Optuna storage can take."""
        trial = self._storage.get_trial(self._writer.id_of(number))
        return create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)

    def _begin(self, suggestion: Suggestion) -> None:
        draw = suggestion.draw
        drawn = create_trial(state=TrialState.RUNNING, params=draw.params, distributions=draw.distributions)
        self._writer.start(suggestion.number, drawn)
        self._seen.add(_key(draw.fields))
        self.unfinished[suggestion.number] = suggestion.recipe
        self.begun += 1
        self._suggestion = None

    def _next(self) -> Suggestion | None:
        problem = self._problem
        if self.begun == 0:
            return self._suggested(problem.draw_known(problem.base.as_dict()))
        if self.begun <= len(problem.starts):
            return self._suggested(problem.draw_known(problem.starts[self.begun - 1], number=self.begun))
        for attempt in range(SAMPLER_DRAWS + RANDOM_DRAWS):
            make = SAMPLERS[problem.sampler if attempt < SAMPLER_DRAWS else "random"]
            again = (attempt,) if attempt else ()
            study = self.study(make(derived_seed(problem.seed, self.begun, *again), problem))
            with self._storage.bounded():
                draw = problem.draw(SamplerChoice(study, self._before + self.begun), self.begun)
            if _key(draw.fields) not in self._seen:
                return self._suggested(draw)
        return None

    def _past(self, past: PastTrial) -> FrozenTrial:
        draw = self._problem.draw_known(past["recipe"], past.get("params"))
        state, values = STATE_OF[past["status"]], dict(enumerate(past["accuracies"], 1))  # type: ignore[index]
        if not values and "value" in past and state == TrialState.COMPLETE:
            values = {self._problem.max_epochs: past["value"]}
        return create_trial(
            state=state,
            value=None if state == TrialState.FAIL or not values else values[max(values)],
            params=draw.params,
            distributions=draw.distributions,
            intermediate_values=values,
        )

    def _suggested(self, draw: Draw) -> Suggestion:
        return Suggestion(self.begun, draw, self._problem.recipe(self.begun, draw.fields))


def _key(config: Mapping[str, Any]) -> Hashable:
    return tuple(sorted((name, repr(value)) for name, value in config.items()))


class _Writer:
    """Writes what events say to one Optuna storage."""

    def __init__(self, storage: BaseStorage, problem: SearchProblem, name: str) -> None:
        direction = StudyDirection.MAXIMIZE if problem.metric.mode == "max" else StudyDirection.MINIMIZE
        with quiet_optuna():
            self.study_id = storage.create_new_study([direction], name)
        self._storage, self._metric = storage, f"val_{problem.metric.name}"
        self._ids: dict[int, int] = {}
        self._last: dict[int, float] = {}
        self._seconds: dict[int, float] = {}

    def id_of(self, number: int) -> int:
        return self._ids[number]

    def start(self, number: int, trial: FrozenTrial) -> None:
        """Enters a trial, with the epochs that it has."""
        self._ids[number] = self._storage.create_new_trial(self.study_id, trial)
        if trial.intermediate_values:
            self._last[number] = trial.intermediate_values[max(trial.intermediate_values)]

    def apply(self, event: Event) -> None:
        trial_id = self._ids[event.number]
        match event:
            case EpochFinished():
                self._seconds[event.number] = event.time_total_s
                value = event.metrics.get(self._metric)
                if value is not None:
                    self._last[event.number] = value
                    self._storage.set_trial_intermediate_value(trial_id, event.epoch, value)
            case TrialPaused() | TrialPromoted():
                self._storage.set_trial_user_attr(trial_id, "paused", isinstance(event, TrialPaused))
            case TrialEnded():
                ended = {"stop_reason": event.reason, "seconds": self._seconds.pop(event.number, None)}
                for name, about in ended.items():
                    if about is not None:
                        self._storage.set_trial_user_attr(trial_id, name, about)
                state, value = STATE_OF[event.status], self._last.pop(event.number, None)
                # A stopped trial has the value of its last epoch and is PRUNED: no complete one of fewer epochs.
                known = value is not None and state != TrialState.FAIL
                self._storage.set_trial_state_values(trial_id, state, [value] if known else None)  # type: ignore[list-item]


class OptunaDatabase:
    """optuna.db: a copy of the study on disk, that can be looked at while the search runs (optuna-dashboard).

    It is written from a thread of its own, as SQLite takes 60 ms a trial, and it is never read. It is a view: where
    writing fails, as when somebody keeps it locked, the search continues, the file is left alone until the end, and is
    then made anew. Use it as a context manager, at whose end all is written.

    Args:
        place: the file, or the URL of an SQL database, as SQLAlchemy takes it, where other studies may be.
        study: what to copy; each event is applied there first.
        run: what tells this run's study in a database from another one of the same name.

    Attributes:
        failure: at the end, why the copy is not up to date, in a line; None where it is.
    """

    def __init__(self, place: Path | str, problem: SearchProblem, study: OptunaStudy, run: str = "") -> None:
        self.failure: str | None = None
        self._place, self._problem, self._study, self._run = place, problem, study, run
        self._writer: _Writer | None = None
        self._storage: RDBStorage | None = None
        self._behind = False
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._thread.submit(self._guarded, self._copy, place, study.trials())

    def apply(self, event: Event) -> None:
        """Has `event` written when the thread comes to it."""
        if isinstance(event, TrialStarted):
            self._thread.submit(self._guarded, self._start, event.number, self._study.drawn(event.number))
        else:
            self._thread.submit(self._guarded, self._apply, event)

    def wait(self) -> None:
        """Returns when everything that was applied so far has been written."""
        self._thread.submit(int).result()

    def __enter__(self) -> "OptunaDatabase":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        self._close()
        if self._behind:
            self._behind = False
            self._guarded(self._replace)

    def _guarded(self, do: Any, *arguments: Any) -> None:
        """Does it unless something has failed before: after a gap nothing is written until all is."""
        if self._behind:
            return
        try:
            do(*arguments)
        except Exception as failed:
            self._behind = True
            self.failure = str(failed.__cause__ or failed).splitlines()[0]

    def _replace(self) -> None:
        if isinstance(self._place, str):
            try:
                self._copy(self._place, self._study.trials())
            finally:
                self._close()
        else:
            self._replace_file(self._place)
        self.failure = None

    def _replace_file(self, path: Path) -> None:
        anew = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._copy(anew, self._study.trials())
            self._close()
            os.replace(anew, path)
        finally:
            self._close()
            anew.unlink(missing_ok=True)

    def _copy(self, place: Path | str, trials: Mapping[int, FrozenTrial]) -> None:
        with quiet_optuna():
            if isinstance(place, str):
                self._storage = RDBStorage(place)
                _remove_earlier(self._storage, self._study.name, self._run)
            else:
                place.unlink(missing_ok=True)
                lock = {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
                self._storage = RDBStorage(f"sqlite:///{place}", engine_kwargs=lock)
        self._writer = _Writer(self._storage, self._problem, self._study.name)
        self._storage.set_study_user_attr(self._writer.study_id, RUN, self._run)
        # What Study.set_metric_names writes; optuna-dashboard names its axes so.
        metric = f"val_{self._problem.metric.name}"
        self._storage.set_study_system_attr(self._writer.study_id, "study:metric_names", [metric])
        for number, trial in trials.items():
            self._writer.start(number, trial)

    def _start(self, number: int, drawn: FrozenTrial) -> None:
        if self._writer is not None:
            self._writer.start(number, drawn)

    def _apply(self, event: Event) -> None:
        if self._writer is not None:
            self._writer.apply(event)

    def _close(self) -> None:
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
        self._storage = self._writer = None


def check_database(url: str, name: str) -> None:
    """Checks that a database can be used and has no study `name` yet.

    Raises:
        UsageError: its driver is not installed, it does not answer, or it has such a study.
    """
    try:
        with quiet_optuna(), opened(url) as storage:
            taken = name in {study.study_name for study in storage.get_all_studies()}
    except ImportError as error:
        raise UsageError(f"--storage-url {url}: {str(error).splitlines()[0]}") from None
    except Exception as error:
        why = " ".join(str(error.__cause__ or error).split())[:300]
        raise UsageError(f"--storage-url {url} cannot be used: {why}") from None
    if taken:
        raise UsageError(f"--storage-url {url} has a study {name} already; give another --name")


def _remove_earlier(storage: RDBStorage, name: str, run: str) -> None:
    """Removes what an earlier session of the same run has written.

    Raises:
        ValueError: the study of this name is another run's.
    """
    for study in storage.get_all_studies():
        if study.study_name == name:
            if study.user_attrs.get(RUN) != run:
                raise ValueError(f"--storage-url has a study {name} of another run")
            storage.delete_study(study._study_id)
