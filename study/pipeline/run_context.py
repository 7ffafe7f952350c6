"""Everything that a phase of a study needs, and the protocol of a phase."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from filelock import FileLock

from study.config import ReproduceConfig, StudyConfig, TrainingConfig
from study.data import Dataset, Split
from study.data.dataset import Fold
from study.errors import StudyFailed, StudyInterrupted
from study.execution import cluster
from study.execution.interruption import Interruption
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup
from study.pipeline.console import Output
from study.pipeline.trackers import NO_TRACKERS, Trackers
from study.pipeline.trusted_code import UserCode
from study.search.problem import SearchProblem, derived_seed
from study.storage.store import Folder
from study.storage.study_file import StudyFile, now
from study.training.metrics import measured_each_epoch

Config = TypeVar("Config", bound=TrainingConfig)

# A seed derives from the study's seed and a number: that of a trial, or one of these, which no trial number reaches.
FINAL, FINALISTS, AUDIT, CONTROL, TUNED_BASELINE, REPLICATES = (k * 1_000_000 for k in range(1, 7))


@dataclass(frozen=True, eq=False)
class RunContext(Generic[Config]):
    """A run that has begun or is resumed. No other process can open it while this one holds its lock.

    Attributes:
        program: of the command that resumes it, such as "study.run".
        folder: the run directory and its place in the store.
        problem: what a search varies; None for a run without a search.
        trackers: what follows the search from outside.
    """

    program: str
    config: Config
    folder: Folder
    study: StudyFile
    dataset: Dataset
    slots: Slots
    interruption: Interruption
    output: Output
    lock: FileLock
    problem: SearchProblem | None = None
    trackers: Trackers = NO_TRACKERS

    @property
    def run_dir(self) -> Path:
        return self.folder.path

    @cached_property
    def splits(self) -> tuple[Split, Split]:
        """Training and validation images."""
        return self.dataset.split()

    def seeds(self, first: int, count: int) -> list[int]:
        """`count` seeds from the number `first` on."""
        seed = self.config.seed  # type: ignore[attr-defined]
        return [derived_seed(seed, first + index) for index in range(count)]

    def worker_setup(
        self, folder: Folder, *, on_all_training_images: bool = False, fold: Fold | None = None, **options: Any
    ) -> WorkerSetup:
        """What the trainings of a phase have in common.

        Args:
            on_all_training_images: train on validation images as well, and skip validation.
            fold: of a cross-validation, instead of the study's own split.
            options: further fields of WorkerSetup.
        """
        splits = self.splits if fold is None else self.dataset.split_fold(fold)
        train, validation = (self.dataset.training, None) if on_all_training_images else splits
        return WorkerSetup(
            train=train,
            validation=validation,
            spec=self.dataset.spec,
            store=folder.store,
            gpu=self.slots.gpus > 0,
            trainer=self.config.trainer,
            metrics=measured_each_epoch(getattr(self.config, "metric", "accuracy")),
            **UserCode.of(self.config).for_workers(),
            **{"checkpoint_epochs": (), "keep_weights": False, "threads": self.slots.threads, **options},
        )

    def threads_of(self, trainings: int) -> int:
        """Threads of each of some planned trainings: all of the study's CPUs where no other training waits for one, so
        that the last one leaves none idle; on a cluster, whose nodes others use as well, those of a slot."""
        alone = getattr(self.config, "address", cluster.LOCAL) == cluster.LOCAL and not self.slots.gpus
        if not alone or trainings > self.slots.count:
            return self.slots.threads
        return max(self.slots.threads, int(self.slots.count * self.slots.cpus))


StudyContext = RunContext[StudyConfig]
ReproduceContext = RunContext[ReproduceConfig]


class Phase(Protocol[Config]):
    """One part of a study.

    Attributes:
        name: of its wall time in study.json.
    """

    name: str

    def enabled(self, config: Config) -> bool:
        """Whether the settings ask for it."""

    def run(self, context: RunContext[Config]) -> None:
        """Does what has not been done yet; a phase that is complete returns at once.

        Raises:
            StudyFailed: the study cannot continue.
        """


def run_phases(
    context: RunContext[Config], phases: Sequence[Phase[Config]], set_exit_notice: Callable[[str], None]
) -> None:
    """Runs the enabled phases in order; study.json gets the wall time of each and how the study ended.

    Args:
        set_exit_notice: takes the line that is printed if this process is killed.

    Raises:
        StudyFailed: a phase failed; the message says how to resume.
        StudyInterrupted: a signal stopped the study cleanly.
    """
    study, interruption = context.study, context.interruption
    where = f"what was finished is in {context.run_dir}"
    resume = f"resume with: {resume_command(context)}"
    died = "this process was ended by Ray, a process of which died, or by the system"
    set_exit_notice(f"{context.program}: {died}; {where}; {resume}")
    try:
        with interruption.on_signals(), cluster.watch(lambda dead: _give_up(context, dead, set_exit_notice)):
            for phase in phases:
                if phase.enabled(context.config) and interruption.signal_number is None:
                    with study.timed(phase.name):
                        phase.run(context)
    except (StudyFailed, OSError) as error:
        study.update(status="failed", reason=str(error), ended=now())
        context.folder.copy()
        hint = resume if getattr(error, "resumable", True) else "resuming alone will not help"
        raise StudyFailed(f"{error}; {where}; {hint}") from error
    except KeyboardInterrupt:
        if interruption.signal_number is None:
            interruption.reason = "SIGINT"
    if interruption.signal_number is not None:
        study.update(status="stopped", reason=interruption.reason, ended=now())
        context.folder.copy()
        message = f"stopped by {interruption.reason}; all finished epochs are in {context.run_dir}; {resume}"
        raise StudyInterrupted(message, interruption.signal_number)
    study.update(status="finished", ended=now())
    _check_copy(context)


def _give_up(context: RunContext[Any], dead: str, set_exit_notice: Callable[[str], None]) -> None:
    """Ends this process, as Ray would a minute later without a message. The run can be resumed."""
    reason = f"Ray died on this machine ({dead})"
    context.study.update(status="failed", reason=reason, ended=now())
    message = f"{reason}; what was finished is in {context.run_dir}; resume with: {resume_command(context)}"
    set_exit_notice(f"{context.program}: {message}")
    os._exit(1)


def resume_command(context: RunContext[Any]) -> str:
    """The command that resumes a run."""
    return f"python -m {context.program} --resume {shlex.quote(str(context.run_dir))}"


def _check_copy(context: RunContext[Any]) -> None:
    context.folder.copy()
    if context.folder.behind is not None:
        raise StudyFailed(
            f"the copy in the store is behind: {context.folder.behind}; the complete run is in {context.run_dir}; copy "
            f"it with: {resume_command(context)}"
        )
