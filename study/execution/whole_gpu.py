"""A trial that ran out of its share of a GPU's memory is tried once more, alone on a whole GPU."""

from typing import Any

from ray import tune
from ray.tune.search import Searcher

from study.execution.process_local import ProcessLocal
from study.execution.recorder import error_of, is_out_of_gpu_memory
from study.execution.resources import Slots


class WholeGpuAfterOutOfMemory(ProcessLocal, tune.Callback):
    """Retries a trial that ran out of a GPU's memory once, alone on a whole GPU.

    Attributes:
        waiting: ids of the trials that wait for theirs.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.waiting: set[str] = set()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._slots.gpus and is_out_of_gpu_memory(error_of(trial)):
            trial.update_resources({"cpu": self._slots.cpus, "gpu": 1.0})
            trial.max_failures = trial.run_metadata.num_failures
            self.waiting.add(trial.trial_id)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.waiting.discard(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.waiting.discard(trial.trial_id)

    on_trial_error = on_trial_complete


class HeldBack(ProcessLocal, Searcher):
    """`searcher`, except that nothing starts while a trial waits for a whole GPU: Ray would give each share that
    becomes free to the next trial, and no GPU would ever be empty."""

    def __init__(self, searcher: Searcher, whole_gpu: WholeGpuAfterOutOfMemory) -> None:
        super().__init__()
        self._searcher, self._whole_gpu = searcher, whole_gpu

    def suggest(self, trial_id: str) -> Any:
        return None if self._whole_gpu.waiting else self._searcher.suggest(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._searcher.on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: what is left is read from the event log."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its event log")
