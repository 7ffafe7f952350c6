"""From Ray Tune's callbacks to the event log: each epoch, retry, pause, promotion and end of a training."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ray import tune

from results.events import (
    EpochFinished,
    TrialEnded,
    TrialPaused,
    TrialRetried,
    TrialState,
)
from study.errors import StoreError
from study.execution import cluster, trainable
from study.execution.process_local import ProcessLocal
from study.execution.trainable import DIVERGED, EPOCH, SECONDS
from study.storage.event_log import EventLog
from study.storage.store import Store

RAY_DIED = "Ray died on this machine"
OWNER_DIED = "because its owner has died"
RAYS_OWN = "running low on memory"
# How torch, its libraries and CUDA say that a GPU's memory is full.
OUT_OF_MEMORY = (
    "OutOfMemoryError",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "HIP out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cudaErrorMemoryAllocation",
)


class Recorder(ProcessLocal, tune.Callback):
    """Writes what Ray Tune does to the event log. Starts and promotions are recorded by the searcher.

    Args:
        log: where to.
        store: of the trainings; it has the log of one that hung.
        max_epochs: after which a training is complete.
        labels: what identifies a training of a phase, by number: `role`, `seed`, ...; empty for a search.
    """

    def __init__(
        self, log: EventLog, store: Store, max_epochs: int, labels: Mapping[int, Mapping[str, Any]] | None = None
    ) -> None:
        self._log, self._store, self._max_epochs, self._labels = log, store, max_epochs, labels or {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.record_epoch(trial, result)

    def record_epoch(self, trial: Any, result: dict[str, Any]) -> None:
        """Records the epoch that `trial` reported, unless it is recorded already."""
        state = self._state(trial)
        if DIVERGED in result or result[EPOCH] <= state.epoch:
            return  # an epoch that was trained again after a retry is in the log already
        self._log.append(
            EpochFinished(
                **self._identity(state.number),
                epoch=result[EPOCH],
                metrics=trainable.metrics_of(result),
                seconds=result[SECONDS],
                time_total_s=state.seconds + result[SECONDS],
                device=result.get("device"),
            )
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        state, result = self._state(trial), trial.last_result
        if DIVERGED in result:
            self.end(state.number, "diverged", result[DIVERGED])
        elif state.epoch >= self._max_epochs:
            self.end(state.number, "completed", None)
        else:
            self._log.append(TrialPaused(**self._identity(state.number)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        self._log.append(TrialRetried(**self._identity(number), reason=self._reason(trial)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.end(trial.config["number"], "failed", self._reason(trial))

    def end(
        self, number: int, status: Literal["completed", "stopped", "diverged", "failed"], reason: str | None
    ) -> None:
        """Records the end of the training `number`."""
        self._log.append(TrialEnded(**self._identity(number), status=status, reason=reason))

    def _identity(self, number: int) -> dict[str, Any]:
        return {"number": number, "labels": self._labels.get(number, {})}

    def _state(self, trial: Any) -> TrialState:
        return self._log.state.trials[trial.config["number"]]

    def _reason(self, trial: Any) -> str:
        """Why a training has failed, in one line.

        Raises:
            OSError: the disk is full, or the store or Ray is gone. The training is not at fault and stays unfinished.
        """
        if not cluster.is_up():
            raise ConnectionError(RAY_DIED)
        log = self._store.folder and self._store.folder / trainable.hang_log_of(trial.config["number"])
        if log and log.exists() and (stood := log.read_text().splitlines()):
            log.unlink()
            return f"hung: {stood[0]} {stood[2].strip() if len(stood) > 2 else ''}".strip()
        reason = reason_of(trial)
        if OWNER_DIED in reason:  # it is this process, which lives: Ray has given up this machine
            raise ConnectionError(RAY_DIED)
        if os.strerror(errno.ENOSPC) in reason:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if StoreError.__name__ in reason:
            raise StoreError(reason.partition(f"{StoreError.__name__}: ")[2])
        return reason


class CheckpointCleaner(ProcessLocal, tune.Callback):
    """Deletes the checkpoint of a training that has ended. Those of paused and interrupted ones stay."""

    def __init__(self, store: Store, log: EventLog) -> None:
        self._store, self._log = store, log

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        if self._log.state.trials[number].end is not None:
            self._store.delete(trainable.checkpoint_of(number))

    on_trial_error = on_trial_complete


def delete_left_over_checkpoints(store: Store, log: EventLog) -> None:
    """Deletes those of trainings that have ended: a driver may be killed between the end and the deletion."""
    for name in store.below("checkpoints").names():
        number = Path(name).stem
        if number.isdecimal() and int(number) in log.state.trials and log.state.trials[int(number)].end is not None:
            store.delete(trainable.checkpoint_of(int(number)))


class AfterEachTraining(ProcessLocal, tune.Callback):
    """Calls a function when a training was paused or has ended, and that is recorded."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._function()


def reason_of(trial: Any) -> str:
    """The line of a trial's error that names its cause, at most 300 characters."""
    return cause_in(error_of(trial))


def error_of(trial: Any) -> str:
    """All that Ray says of a trial's error, many lines with a traceback."""
    return Path(trial.error_file).read_text() if trial.error_file else ""


def is_out_of_gpu_memory(text: str) -> bool:
    """Whether an error is that of a full GPU, and not of the machine's own memory, of which Ray's message is."""
    return RAYS_OWN not in text and any(sign in text for sign in OUT_OF_MEMORY)


def cause_in(text: str) -> str:
    """The line of an error that names its cause: of too little memory the line that says so, else the last one.

    Ray's advice after an out-of-memory kill is many lines long; its first sentence is the cause. torch adds lines after
    its own.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    killed = [line for line in lines if RAYS_OWN in line]
    full = [line for line in lines if is_out_of_gpu_memory(line) and not line.startswith("raise ")]
    chosen = [*lines[-1:], *full[-1:], *killed[:1]][-1]
    if RAYS_OWN in chosen:  # what follows that sentence is advice on how to operate Ray
        chosen = chosen[: chosen.index(RAYS_OWN) + len(RAYS_OWN)]
    return chosen if len(chosen) <= 300 else f"{chosen[:297]}..."
