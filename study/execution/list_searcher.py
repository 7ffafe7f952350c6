"""A Ray Tune Searcher over a fixed list of trainings."""

from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from study.execution.process_local import ProcessLocal


class ListSearcher(ProcessLocal, Searcher):
    """Gives each of `configs` (see runner.config_of) to Ray Tune, in order."""

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._left = list(configs)

    def suggest(self, trial_id: str) -> Any:
        return self._left.pop(0) if self._left else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing depends on how a training of the list ends."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the list is made again from the event log."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a list of trainings is made again from the event log")
