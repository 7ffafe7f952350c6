"""What Ray Tune is handed when a slot is free: a trial that goes on, or one that Optuna suggests.

Written on Ray's Searcher and Optuna's ask-and-tell, not on Ray's OptunaSearch: that one tells every trial that ASHA
stopped as COMPLETE, so that TPE compares accuracies of different epochs.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from study.search.asha import ASHA, METRIC
from study.search.optuna_study import OptunaStudy, Suggestion
from study.storage.event_log import NotPickled


class OptunaSearcher(NotPickled, Searcher):
    """Hands Ray Tune the trial that a free slot is for.

    That is one which an earlier process left between two rungs, else one that ASHA promotes, else a new one. What
    becomes of a trial Optuna learns from the record and not from here.

    Args:
        told: the study so far, with the trials of an earlier process that have not ended.
        asha: knows the trials that rest, and is told when no more begin.
        may_start: whether the trial of this number may still begin.
        on_suggestion: called with each new Suggestion before it is given to Ray.
    """

    def __init__(
        self,
        told: OptunaStudy,
        asha: ASHA,
        may_start: Callable[[int], bool],
        on_suggestion: Callable[[Suggestion], None],
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._told, self._asha, self._may_begin, self._on_suggestion = told, asha, may_start, on_suggestion
        self._between_rungs = [number for number in told.unfinished if number not in asha.paused()]
        self._running: set[str] = set()
        self._ask_whether_more_begin()

    def suggest(self, trial_id: str) -> Any:
        """The "number" and "recipe" of a trial, and how many of its epochs are "recorded"; FINISHED after the last."""
        more_begin = self._ask_whether_more_begin()
        if self._between_rungs:
            number = self._between_rungs.pop(0)
        elif (promoted := self._asha.promotable()) is not None:
            number = promoted
        elif more_begin:
            suggestion = self._told.ask()
            number = suggestion.number
            self._on_suggestion(suggestion)
            self._ask_whether_more_begin()
        else:
            # What runs now may come to a rung and have another one promoted.
            return None if self._running else Searcher.FINISHED
        self._running.add(trial_id)
        recipe = self._told.unfinished[number].recipe
        return {"number": number, "recipe": recipe.as_dict(), "recorded": self._told.recorded.get(number, 0)}

    def _ask_whether_more_begin(self) -> bool:
        more_begin = self._may_begin(self._told.begun)
        if not more_begin:
            self._asha.no_more_trials()
        return more_begin

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The trial's slot is free, whether it has ended or rests."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is what a study is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its record")
