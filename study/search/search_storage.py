"""The storage of a search's own Optuna study, in memory: what a sampler sees of it, at a cost that has a bound.

Samplers look at all trials for every value that they choose, so that a suggestion takes the longer the more there are.
A sampler sees at most the `BEST` best and the `LATEST` latest of the trials that have a result, and all that run. TPE
builds its good group from at most 25 trials and lets the weight of the others fall with their age; the sampler `prior`
changes one of the best trials, each with 0.6 times the probability of the one before. So they would learn
little from the others (measured in docs/scaling.md). Up to BEST + LATEST trials with a result nothing is left out, and
suggestions are what they would be without a bound, to the bit.
"""

import copy
from bisect import bisect_left, insort
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

BEST, LATEST = 50, 250

Key = tuple[int, float, int]  # minus the last epoch, the signed value, the number: the best trial sorts first


def rank_key(trial: FrozenTrial, direction: StudyDirection) -> tuple[int, float]:
    """Sorts the best first: those that came farther, then by value there, as TPE ranks pruned trials."""
    last = trial.last_step or 0
    value = trial.intermediate_values.get(last, trial.value if trial.value is not None else float("inf"))
    return -last, -value if direction == StudyDirection.MAXIMIZE else value


class SearchStorage(InMemoryStorage):
    """Optuna's storage in memory, of one study. Paused trials are among the pruned ones.

    To Optuna they are still running, and TPE counts running trials as bad ones.

    Args:
        latest: how many of the latest trials with a result a sampler sees.
    """

    def __init__(self, latest: int = LATEST) -> None:
        super().__init__()
        self._latest = latest
        self._paused: set[int] = set()
        self._running: set[int] = set()
        self._best_first: list[Key] = []
        self._by_number: list[int] = []
        self._keys: dict[int, Key] = {}
        self._pruned: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}
        self._is_bounded = False
        self._seen: list[FrozenTrial] | None = None

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Inside, `get_all_trials` gives what a sampler sees; no trial changes meanwhile."""
        self._is_bounded, self._seen = True, None
        try:
            yield
        finally:
            self._is_bounded, self._seen = False, None

    def pause(self, trial_id: int) -> None:
        """The trial counts as pruned until `unpause`."""
        if trial_id not in self._paused:
            self._paused.add(trial_id)
            self._has_result(trial_id)

    def unpause(self, trial_id: int) -> None:
        """The trial, if it was paused, runs again."""
        if trial_id in self._paused:
            self._paused.remove(trial_id)
            number = self.get_trial_number_from_id(trial_id)
            key = self._keys.pop(number)
            self._best_first.pop(bisect_left(self._best_first, key))
            self._by_number.pop(bisect_left(self._by_number, number))
            self._pruned.pop(number, None)
            self._running.add(number)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        trial = self.get_trial(trial_id)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._has_result(trial_id)
        elif trial.state == TrialState.RUNNING:
            self._running.add(trial.number)
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        is_set = super().set_trial_state_values(trial_id, state, values)
        self.unpause(trial_id)
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._has_result(trial_id)
        elif state == TrialState.FAIL:
            self._running.discard(self.get_trial_number_from_id(trial_id))
        return is_set

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Drops what a sampler notes about a trial that is only being drawn: it is registered when it begins."""
        if trial_id >= 0:
            super().set_trial_system_attr(trial_id, key, value)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states == (TrialState.WAITING,):  # asked for at each suggestion; the storage keeps these at hand
            return super().get_all_trials(study_id, deepcopy, states)
        if not self._is_bounded:
            trials = self._as_seen(super().get_all_trials(study_id, deepcopy=False))
        else:
            if self._seen is None:
                self._seen = self._what_counts(study_id)
            trials = self._seen
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else list(trials)

    def running(self, study_id: int) -> list[FrozenTrial]:
        """All trials as they are, paused ones running."""
        return super().get_all_trials(study_id, deepcopy=False)

    def _what_counts(self, study_id: int) -> list[FrozenTrial]:
        """What a sampler sees, by number."""
        if len(self._by_number) <= BEST + self._latest:
            return self._as_seen(super().get_all_trials(study_id, deepcopy=False))
        numbers = {*self._running, *(number for _, _, number in self._best_first[:BEST])}
        trials = self._studies[study_id].trials
        return self._as_seen([trials[number] for number in sorted(numbers.union(self._by_number[-self._latest :]))])

    def _as_seen(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        return [self._as_pruned(trial) if trial._trial_id in self._paused else trial for trial in trials]

    def _as_pruned(self, trial: FrozenTrial) -> FrozenTrial:
        known, pruned = self._pruned.get(trial.number, (None, trial))
        if known is not trial:
            pruned = copy.copy(trial)
            pruned.state, pruned.datetime_complete = TrialState.PRUNED, trial.datetime_start
            self._pruned[trial.number] = (trial, pruned)
        return pruned

    def _has_result(self, trial_id: int) -> None:
        """Enters a trial that is paused or over."""
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        [direction] = self.get_study_directions(study_id)
        self._keys[number] = (*rank_key(self.get_trial(trial_id), direction), number)
        insort(self._best_first, self._keys[number])
        insort(self._by_number, number)
        self._running.discard(number)
