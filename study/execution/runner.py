"""Ray Tune in the driver: a searcher, a scheduler and slots become a Tuner, and the event log says what it did.

The search, the final trainings and all other phases go through `run_trials`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from search_spaces import SpaceError
from study.errors import StoreError, StudyFailed
from study.execution import cluster, trainable
from study.execution.interruption import Interruption
from study.execution.recorder import (
    RAY_DIED,
    AfterEachTraining,
    CheckpointCleaner,
    Recorder,
    cause_in,
)
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup
from study.execution.whole_gpu import HeldBack, WholeGpuAfterOutOfMemory
from study.storage.event_log import EventLog

RETRIES = 2


@dataclass(frozen=True)
class TrialSource:
    """Where trials come from and what is decided about them.

    Attributes:
        searcher: gives the next trial.
        scheduler: pauses and stops trials; None to train each one to its end.
        count: of trials that Ray Tune may see at most; one that is promoted counts again.
        after_each: called when a training was paused or has ended, and that is recorded.
    """

    searcher: Searcher
    scheduler: TrialScheduler | None
    count: int
    after_each: Callable[[], None] = lambda: None


@cluster.settings()
def run_trials(
    source: TrialSource, setup: WorkerSetup, recorder: Recorder, log: EventLog, slots: Slots, interruption: Interruption
) -> None:
    """Runs trials from `source` to their end, or until `interruption`.

    Raises:
        StudyFailed: Ray, the disk or the store failed. Everything recorded before is intact.
    """
    if not cluster.is_up():
        raise StudyFailed(RAY_DIED)
    store = setup.store
    if store.folder is not None:
        (store.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    try:
        _tuner(source, setup, recorder, log, slots, interruption).fit()
    except SpaceError as error:
        said = f"{error}; correct the space, then resume with --accept-changed-code"
        raise StudyFailed(said, resumable=False) from error
    except Exception as error:
        raise StudyFailed(_meaning(error)) from error


def _tuner(
    source: TrialSource, setup: WorkerSetup, recorder: Recorder, log: EventLog, slots: Slots, interruption: Interruption
) -> tune.Tuner:
    store, whole_gpu = setup.store, WholeGpuAfterOutOfMemory(slots)
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable.train, setup=setup), {"cpu": slots.cpus, "gpu": slots.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=HeldBack(source.searcher, whole_gpu),
            scheduler=source.scheduler,
            num_samples=source.count,
            max_concurrent_trials=slots.count,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial_{trial.config['number']:05d}_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=store.below("ray").location,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[
                recorder,
                CheckpointCleaner(store, log),
                whole_gpu,
                AfterEachTraining(source.after_each),
            ],
            stop=interruption,
            verbose=0,
        ),
    )


def _meaning(error: Exception) -> str:
    """Why Ray Tune ended, in one line. Of some errors of a callback Ray keeps only the text."""
    cause = cause_in(str(error))
    if RAY_DIED in cause or not cluster.is_up():
        return RAY_DIED
    if isinstance(error, StoreError) or StoreError.__name__ in cause:
        return f"the store does not answer: {cause.rpartition(f'{StoreError.__name__}: ')[2]}"
    if isinstance(error, OSError):
        return f"writing stopped: {error.strerror or error}; free some disk space, then resume"
    return f"Ray Tune ended with {type(error).__name__}: {cause}"


def config_of(number: int, recipe: dict[str, Any], recorded: int) -> dict[str, Any]:
    """What Ray Tune hands to a worker: the trial's number, its Recipe, and how many epochs the event log has."""
    return {"number": number, "recipe": recipe, "recorded": recorded}
