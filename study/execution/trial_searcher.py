"""Chooses the next trial for a free slot: one to continue, one to promote, or a new one that the sampler suggests.

It is written on Ray's Searcher and Optuna's sampler, not on Ray's OptunaSearch: that one reports every trial that was
stopped early as COMPLETE, so that TPE would compare accuracies after different numbers of epochs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ray.tune.search import Searcher

from results.events import TrialPromoted
from study.execution.process_local import ProcessLocal
from study.execution.runner import config_of
from study.recipe import Recipe
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem
from study.search.schedulers import Scheduler
from study.storage.event_log import EventLog


class TrialSearcher(ProcessLocal, Searcher):
    """Gives Ray Tune the trial that a free slot is for.

    First come trials that an earlier process left between two rungs, then the one that the scheduler promotes, then a
    new one. What becomes of a trial is learnt from the event log, not from Ray.

    Args:
        log: of the search; new trials are recorded in it.
        may_start: whether the trial of this number may still start.
        costs: what the network of a recipe costs, for the event log; None where that is not known.
    """

    def __init__(
        self,
        problem: SearchProblem,
        log: EventLog,
        optuna_study: OptunaStudy,
        scheduler: Scheduler,
        may_start: Callable[[int], bool],
        costs: Callable[[Recipe], Mapping[str, int] | None] = lambda recipe: None,
    ) -> None:
        super().__init__()
        self._problem, self._log, self._optuna_study, self._scheduler = problem, log, optuna_study, scheduler
        self._may_start, self._costs = may_start, costs
        paused = scheduler.paused()
        self._between_rungs = [trial.number for trial in log.state.unfinished() if trial.number not in paused]
        self._running: set[str] = set()
        self._more_trials()

    def suggest(self, trial_id: str) -> Any:
        """See runner.config_of. None: nothing is ready, but a running trial may have one promoted."""
        number = self._next()
        if number is None:
            return None if self._running else Searcher.FINISHED
        self._running.add(trial_id)
        trial = self._log.state.trials[number]
        recipe = self._problem.recipe(number, dict(trial.started.config))
        return config_of(number, recipe.as_dict(), trial.epoch)

    def _next(self) -> int | None:
        """The trial that the slot is for. That a trial starts or is promoted is recorded at once, so that another free
        slot does not get it as well."""
        if self._between_rungs:
            return self._between_rungs.pop(0)
        more = self._more_trials()
        promoted = self._scheduler.next_promotion()
        if promoted is None and more and (suggestion := self._optuna_study.ask()) is not None:
            self._log.append(replace(suggestion.started(), costs=self._costs(suggestion.recipe)))
            self._more_trials()
            return int(suggestion.number)
        if promoted is None:
            # Where the space has nothing left that was not tried, a rung may promote more of its trials.
            self._scheduler.no_more_trials()
            promoted = self._scheduler.next_promotion()
        if promoted is not None:
            self._log.append(TrialPromoted(number=promoted))
        return promoted

    def _more_trials(self) -> bool:
        more = self._may_start(len(self._log.state.trials))
        if not more:
            self._scheduler.no_more_trials()
        return more

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The trial's slot is free, whether it has ended or is paused."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a study is resumed from its event log."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its event log")
