"""A trial that ran out of its share of a GPU's memory, and the others while it waits for a whole GPU."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from study.execution.list_searcher import ListSearcher
from study.execution.resources import Slots
from study.execution.whole_gpu import HeldBack, WholeGpuAfterOutOfMemory

QUARTERS = Slots(cpus=1.0, gpus=0.25, count=4, reason="")


@dataclass
class FailedTrial:
    """What of Ray's Trial a callback meets."""

    error_file: str
    trial_id: str = "a"
    max_failures: int = 2
    run_metadata: Any = field(default_factory=lambda: SimpleNamespace(num_failures=1))
    resources: dict[str, float] | None = None

    def update_resources(self, resources: dict[str, float]) -> None:
        self.resources = resources


def failed(tmp_path: Path, error: str) -> FailedTrial:
    (tmp_path / "error.txt").write_text(f"Traceback (most recent call last):\n{error}\nand what torch says after it\n")
    return FailedTrial(str(tmp_path / "error.txt"))


@pytest.mark.parametrize(
    "error",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4 GiB",
        "torch.AcceleratorError: CUDA error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
def test_nothing_starts_from_out_of_memory_until_the_trial_has_its_whole_gpu(tmp_path: Path, error: str) -> None:
    whole_gpu = WholeGpuAfterOutOfMemory(QUARTERS)
    searcher, trial = HeldBack(ListSearcher([{"number": 1}]), whole_gpu), failed(tmp_path, error)
    whole_gpu.on_trial_recover(0, [], trial)
    assert trial.resources == {"cpu": 1.0, "gpu": 1.0}
    assert trial.max_failures == 1  # no other retry
    assert searcher.suggest("b") is None
    whole_gpu.on_trial_start(1, [], trial)
    assert searcher.suggest("b") == {"number": 1}
    assert searcher.suggest("c") == Searcher.FINISHED


@pytest.mark.parametrize(
    "error",
    [
        "ValueError: too wide",
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",  # the machine's
    ],
)
def test_after_another_error_a_trial_is_retried_on_its_share_and_nothing_waits(tmp_path: Path, error: str) -> None:
    whole_gpu = WholeGpuAfterOutOfMemory(QUARTERS)
    trial = failed(tmp_path, error)
    whole_gpu.on_trial_recover(0, [], trial)
    assert trial.resources is None
    assert HeldBack(ListSearcher([{"number": 1}]), whole_gpu).suggest("b") == {"number": 1}


def test_a_trial_that_ends_while_it_waits_holds_nothing_back_any_more(tmp_path: Path) -> None:
    whole_gpu = WholeGpuAfterOutOfMemory(QUARTERS)
    trial = failed(tmp_path, "CUDA out of memory")
    whole_gpu.on_trial_recover(0, [], trial)
    whole_gpu.on_trial_error(1, [], trial)
    assert not whole_gpu.waiting


def test_the_ends_of_trials_reach_the_searcher(tmp_path: Path) -> None:
    ended: list[str] = []

    class Watched(ListSearcher):
        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            ended.append(trial_id)

    HeldBack(Watched([]), WholeGpuAfterOutOfMemory(QUARTERS)).on_trial_complete("a")
    assert ended == ["a"]
