"""The study's scheduler as Ray Tune's: Ray asks after each epoch whether the trial continues."""

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.search.schedulers import CONTINUE, Scheduler
from study.storage.event_log import NotPickled


class RayScheduler(NotPickled, FIFOScheduler):
    """Stops Ray's trial where the study's trial pauses or is over.

    A paused trial is no trial of Ray's: the searcher hands its number out again when it is promoted. So nothing here
    outlives the process that the event log could not fill again.

    Args:
        scheduler: decides; it is given every event of the event log.
        record_epoch: writes Ray's result of a trial to the event log, and says whether it was new there. The scheduler
            decides from the log, and Ray asks it before any callback.
    """

    def __init__(self, scheduler: Scheduler, record_epoch: Callable[[Any, dict[str, Any]], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._scheduler, self._record_epoch = scheduler, record_epoch

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "diverged" in result:
            return str(TrialScheduler.STOP)
        # An epoch that a retry brings again is not decided again.
        if not self._record_epoch(trial, result) or self._scheduler.decide(trial.config["number"]) == CONTINUE:
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.STOP)
