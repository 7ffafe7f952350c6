"""From the suite's Scheduler to Ray Tune's TrialScheduler.

A trial that is paused is stopped as far as Ray is concerned. When it is promoted, the searcher gives its number to Ray
again and it continues from its checkpoint. So nothing lives in Ray's scheduler that the event log could not restore.
"""

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.execution.process_local import ProcessLocal
from study.execution.recorder import Recorder
from study.execution.trainable import DIVERGED
from study.search.schedulers import CONTINUE, Scheduler


class RayScheduler(ProcessLocal, FIFOScheduler):
    """Asks `scheduler` after each epoch whether a trial continues.

    Ray calls a scheduler before its callbacks, so the epoch is recorded here; `scheduler` follows the event log and has
    seen the epoch when it is asked.
    """

    def __init__(self, scheduler: Scheduler, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._scheduler, self._recorder = scheduler, recorder

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if DIVERGED in result:
            return TrialScheduler.STOP
        self._recorder.record_epoch(trial, result)
        decision = self._scheduler.decide(trial.config["number"])
        return TrialScheduler.CONTINUE if decision == CONTINUE else TrialScheduler.STOP
