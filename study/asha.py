"""ASHA, as Ray has it, with rungs that can be filled again from the record.

Ray keys its rungs by the id that it gives a trial, new in every process, and leaves the scheduler out of its saved
state. Here a rung knows a trial by its number, which never changes.
"""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from study.record import Event

METRIC = "val_accuracy"
EPOCH = "epoch"


def rungs(max_epochs: int, grace_period: int, reduction_factor: int) -> list[int]:
    """The epochs at which ASHA compares trials, ascending: grace_period x reduction_factor^k, up to max_epochs.

    Li et al. 2020, arXiv:1810.05934, algorithm 2, with s = 0.
    """
    found, epoch = [], grace_period
    while epoch <= max_epochs:
        found.append(epoch)
        epoch *= reduction_factor
    return found


class RecordedASHA(ASHAScheduler):
    """Ray's ASHAScheduler; a diverged trial is stopped before it, as `nan < cutoff` is false and lets it run on."""

    def __init__(self, max_epochs: int, grace_period: int, reduction_factor: int) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=METRIC,
            mode="max",
            max_t=max_epochs,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
        )
        self.rungs = rungs(max_epochs, grace_period, reduction_factor)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _known_by_number(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "diverged" in result:
            return TrialScheduler.STOP
        return super().on_trial_result(tune_controller, _known_by_number(trial), result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing is left to do: the last result has been through on_trial_result."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _known_by_number(trial))

    def replay(self, events: Iterable[Event]) -> set[int]:
        """Fills the rungs from a record, in its order.

        Returns:
            The numbers of the trials that ASHA stops at the last epoch recorded for them.
        """
        stopped: set[int] = set()
        for event in events:
            trial = SimpleNamespace(config={"number": event["number"]})
            if event["event"] == "trial":
                self.on_trial_add(None, trial)
            elif event["event"] == "epoch":
                result = {EPOCH: event["training_iteration"], METRIC: event[METRIC]}
                decision = self.on_trial_result(None, trial, result)
                (stopped.add if decision == TrialScheduler.STOP else stopped.discard)(event["number"])
        return stopped


def _known_by_number(trial: Any) -> Any:
    return SimpleNamespace(trial_id=trial.config["number"])
