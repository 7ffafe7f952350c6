"""Ray's side, in the driver: searcher, scheduler and slots become a Tuner, and what it does becomes the record.

The search and the final trainings both go through here; the latter with a list in place of a searcher.
"""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.data import Split
from study.errors import StoreError, StudyFailed
from study.execution import cluster, trainable
from study.execution.resources import Slots
from study.execution.trainable import EPOCH, METRIC
from study.storage.event_log import EventLog, NotPickled
from study.storage.store import Folder, Store

RETRIES = 2
RAY_DIED = "Ray died on this machine"


class Interruption(NotPickled, tune.Stopper):
    """Ends a search from outside: at its deadline, or on SIGINT and SIGTERM.

    Attributes:
        reason: None until something asked for the end; then "time budget", "SIGINT" or "SIGTERM".
    """

    def __init__(self, time_budget_s: float | None = None) -> None:
        self._deadline = None if time_budget_s is None else time.monotonic() + time_budget_s
        self.reason: str | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "time budget"
        return self.reason is not None

    def lift_deadline(self) -> None:
        """The time budget is the search's; what comes after it is bound by signals only."""
        self._deadline = None
        if self.reason == "time budget":
            self.reason = None

    @property
    def signal_number(self) -> int | None:
        """The signal that asked for the end, if one did."""
        return None if self.reason in (None, "time budget") else int(signal.Signals[self.reason])

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Inside, the first SIGINT or SIGTERM asks for a clean end; a second SIGINT is Python's KeyboardInterrupt."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask(number: int, frame: FrameType | None) -> None:
            self.reason = signal.Signals(number).name
            signal.signal(signal.SIGINT, signal.default_int_handler)

        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Recorder(NotPickled, tune.Callback):
    """Writes what Ray Tune does into the record: an event for each epoch, retry, rest, promotion and end.

    Args:
        record: where to.
        store: of the trainings, for what one that hung has left there.
        labels: what to add to each event of a trial, by its number: `role` and `seed` in the final.
    """

    def __init__(
        self, record: EventLog, store: Store, max_epochs: int, labels: dict[int, dict[str, Any]] | None = None
    ) -> None:
        self._record, self._store, self._max_epochs, self._labels = record, store, max_epochs, labels or {}
        self._epochs: dict[int, int] = {}
        self._seconds: dict[int, float] = {}
        for event in record.events:
            if event["event"] == "epoch":
                self._epochs[event["number"]] = event["training_iteration"]
                self._seconds[event["number"]] = event["time_total_s"]

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.record_epoch(trial, result)

    def record_epoch(self, trial: Any, result: dict[str, Any]) -> bool:
        """Writes an epoch down, and says whether it was new: one trained again after a retry is recorded already."""
        number = trial.config["number"]
        if "diverged" in result or result[EPOCH] <= self._epochs.get(number, 0):
            return False
        self._epochs[number] = result[EPOCH]
        self._seconds[number] = self._seconds.get(number, 0.0) + result["seconds"]
        measured = {name: result[name] for name in ("train_loss", "val_loss", METRIC, "seconds")}
        self._append("epoch", number, training_iteration=result[EPOCH], **measured, time_total_s=self._seconds[number])
        return True

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, result = trial.config["number"], trial.last_result
        if "diverged" in result:
            self.end(number, "diverged", result["diverged"])
        elif self._epochs.get(number, 0) >= self._max_epochs:
            self.end(number, "completed", None)
        else:
            self.pause(number)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._append("retry", trial.config["number"], reason=self._reason(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.end(trial.config["number"], "failed", self._reason(trial))

    def _reason(self, trial: Any) -> str:
        """Why a trial has failed, in a line.

        Raises:
            OSError: the disk is full, or the store or Ray gone: no fault of the trial, which stays unfinished.
        """
        if not cluster.is_up():
            raise ConnectionError(RAY_DIED)
        log = self._store.folder and self._store.folder / trainable.hang_log_of(trial.config["number"])
        if log and log.exists() and (stood := log.read_text().splitlines()):
            log.unlink()
            return f"hung: {stood[0]} {stood[2].strip() if len(stood) > 2 else ''}".strip()
        reason = _reason(trial)
        if os.strerror(errno.ENOSPC) in reason:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if StoreError.__name__ in reason:
            raise StoreError(reason.partition(f"{StoreError.__name__}: ")[2])
        return reason

    @property
    def epochs_spent(self) -> int:
        """Epochs of all trials together."""
        return sum(self._epochs.values())

    def epochs_of(self, number: int) -> int:
        """Epochs that the trial `number` has finished."""
        return self._epochs.get(number, 0)

    def unfinished(self) -> list[int]:
        """Numbers of the trials that have begun and not ended."""
        ended = {event["number"] for event in self._record.events if event["event"] == "end"}
        begun = [event["number"] for event in self._record.events if event["event"] == "trial"]
        return [number for number in begun if number not in ended]

    def pause(self, number: int) -> None:
        self._append("rest", number)

    def end(self, number: int, status: str, reason: str | None) -> None:
        self._append("end", number, status=status, stop_reason=reason)

    def _append(self, event: str, number: int, **content: Any) -> None:
        self._record.append({"event": event, "number": number, **self._labels.get(number, {}), **content})


class ListSearcher(NotPickled, Searcher):
    """Hands Ray Tune a list of trainings known beforehand: [{"number": ..., "recipe": {...}, "recorded": 0}]."""

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._left = list(configs)

    def suggest(self, trial_id: str) -> Any:
        return self._left.pop(0) if self._left else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing depends on how a training of the list ends."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the list is made again from the record."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a list of trainings is made again from the record")


@dataclass(frozen=True)
class Arrays:
    """The images that every training of one Tuner uses; validation is None to train without looking."""

    train: Split
    validation: Split | None


def run_trials(
    searcher: Searcher,
    scheduler: TrialScheduler | None,
    recorder: Recorder,
    *,
    count: int,
    arrays: Arrays,
    slots: Slots,
    interruption: Interruption,
    folder: Folder,
    checkpoint_epochs: Sequence[int],
    keep_weights: bool = False,
    after_each: Callable[[], None] = lambda: None,
) -> None:
    """Runs `count` trials from `searcher` to their end, or until `interruption`.

    Args:
        scheduler: None to stop no trial early.
        folder: of the run (or of its final); its store gets checkpoints/ and ray/.
        checkpoint_epochs: after which each training saves its state, besides every 30 s.
        keep_weights: whether the store gets each finished network.
        after_each: called when a training has come to rest or to its end, and that is recorded.

    Raises:
        StudyFailed: Ray or the record failed; what was recorded before is whole.
    """
    if folder.store.folder is not None:
        (folder.store.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    train = tune.with_parameters(
        trainable.train,
        train=arrays.train,
        validation=arrays.validation,
        store=folder.store,
        checkpoint_epochs=tuple(checkpoint_epochs),
        keep_weights=keep_weights,
        threads=slots.threads,
        gpu=slots.gpus > 0,
    )
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": slots.cpus, "gpu": slots.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=count,
            max_concurrent_trials=slots.count,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial_{trial.config['number']:05d}_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=folder.store.below("ray").location,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[recorder, _Cleaner(folder.store, recorder), _RoomForMemory(slots), _AfterEach(after_each)],
            stop=interruption,
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except Exception as error:
        raise StudyFailed(_meaning(error)) from error


def _meaning(error: Exception) -> str:
    """Why Ray Tune ended, in a line. Of some of what a callback raises Ray leaves only the words."""
    last = _last_line(str(error))
    if RAY_DIED in last or not cluster.is_up():
        return RAY_DIED
    if isinstance(error, StoreError) or StoreError.__name__ in last:
        return f"the store does not answer: {last.rpartition(f'{StoreError.__name__}: ')[2]}"
    if isinstance(error, OSError):
        return f"writing stopped: {error.strerror or error}; make room, then resume"
    return f"Ray Tune ended with {type(error).__name__}: {last}"


class _Cleaner(tune.Callback):
    """Removes the checkpoint of a training that has ended; those of paused and interrupted ones stay."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store, self._recorder = store, recorder

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.config["number"] not in self._recorder.unfinished():
            self._store.delete(trainable.checkpoint_of(trial.config["number"]))

    on_trial_error = on_trial_complete


class _AfterEach(tune.Callback):
    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._do()


class _RoomForMemory(tune.Callback):
    """A trial that ran out of a GPU's memory is tried once more, alone on a whole one, and then no more."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._slots.gpus and "OutOfMemoryError" in _reason(trial):
            trial.update_resources({"cpu": self._slots.cpus, "gpu": max(1.0, self._slots.gpus)})
            trial.max_failures = trial.run_metadata.num_failures


def _reason(trial: Any) -> str:
    """The last line of what Ray wrote down of the trial's error."""
    return _last_line(Path(trial.error_file).read_text())


def _last_line(text: str) -> str:
    return [line.strip() for line in text.splitlines() if line.strip()][-1:][0] if text.strip() else "no reason given"
