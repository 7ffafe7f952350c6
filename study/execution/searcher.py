"""What Ray Tune is handed when a slot is free: a trial that continues, or one that Optuna suggests.

Written on Ray's Searcher and Optuna's samplers, not on Ray's OptunaSearch: that one reports every trial that ASHA
stopped as COMPLETE, so that TPE compares accuracies of different epochs.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from results.events import Event, TrialPromoted
from study.search.optuna_study import OptunaStudy
from study.search.schedulers import Scheduler
from study.storage.event_log import NotPickled


class OptunaSearcher(NotPickled, Searcher):
    """Hands Ray Tune the trial that a free slot is for.

    That is one which an earlier process left between two rungs, else one that the scheduler promotes, else a new one.

    Args:
        study: the study so far, with the trials of an earlier process that have not ended.
        scheduler: knows the paused trials, and is told when no more trials begin.
        may_start: whether the trial of this number may still begin.
        record: appends to the event log, which `study` and `scheduler` follow.
    """

    def __init__(
        self,
        study: OptunaStudy,
        scheduler: Scheduler,
        may_start: Callable[[int], bool],
        record: Callable[[Event], None],
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._study, self._scheduler, self._may_start, self._record = study, scheduler, may_start, record
        paused = scheduler.paused()
        self._between_rungs = [number for number in study.unfinished if number not in paused]
        self._running: set[str] = set()
        self._may_start_next()

    def suggest(self, trial_id: str) -> Any:
        """The "number" and "recipe" of a trial, and how many of its epochs are "recorded"; FINISHED after the last."""
        number = self._next()
        if number is None:
            # A trial that runs now may come to a rung and have another one promoted.
            return None if self._running else Searcher.FINISHED
        self._running.add(trial_id)
        recipe = self._study.unfinished[number]
        return {"number": number, "recipe": recipe.as_dict(), "recorded": self._study.epochs.get(number, 0)}

    def _next(self) -> int | None:
        """The trial that runs now; a new one, or a promotion, is in the event log already."""
        if self._between_rungs:
            return self._between_rungs.pop(0)
        may_start = self._may_start_next()
        promoted = self._scheduler.next_promotion()
        if promoted is None:
            if may_start and (suggestion := self._study.ask()) is not None:
                self._record(suggestion.started())
                self._may_start_next()
                return suggestion.number
            self._scheduler.no_more_trials()
            promoted = self._scheduler.next_promotion()
        if promoted is not None:
            self._record(TrialPromoted(number=promoted))
        return promoted

    def _may_start_next(self) -> bool:
        may_start = self._may_start(self._study.begun)
        if not may_start:
            self._scheduler.no_more_trials()
        return may_start

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The trial's slot is free, whether it has ended or is paused."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the event log is what a study is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its event log")
