"""Trainings that are known beforehand: those of the final, of the finalists and of the audit.

Each phase has a folder of its own in the run directory, with an event log as the search has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from results.events import State, TrialStarted
from study.data.dataset import Fold
from study.execution.list_searcher import ListSearcher
from study.execution.recorder import Recorder, delete_left_over_checkpoints
from study.execution.runner import TrialSource, config_of, run_trials
from study.pipeline.progress import PhaseSize
from study.pipeline.run_context import RunContext
from study.recipe import Recipe
from study.storage.event_log import EventLog


@dataclass(frozen=True)
class PlannedTraining:
    """One training: its role, its complete Recipe with epochs and seed, and the search's trial that it comes from.

    Attributes:
        fold: of a cross-validation; None for the study's own split.
    """

    role: str
    recipe: Recipe
    trial: int | None = None
    fold: Fold | None = None

    @property
    def labels(self) -> dict[str, Any]:
        """What identifies its events among those of the phase."""
        trial = {} if self.trial is None else {"trial": self.trial}
        fold = {} if self.fold is None else {"fold": str(self.fold)}
        return {"role": self.role, "seed": self.recipe.seed, **trial, **fold}


@dataclass(frozen=True)
class FinishedTraining:
    """A training that has ended, and its number in the event log of its phase."""

    number: int
    planned: PlannedTraining
    status: str
    reason: str | None


@dataclass(frozen=True)
class TrainingOptions:
    """How the trainings of a phase differ from trials of the search."""

    on_all_training_images: bool = False
    keep_weights: bool = False


def run_trainings(
    context: RunContext[Any],
    planned: Sequence[PlannedTraining],
    phase: str,
    options: TrainingOptions = TrainingOptions(),
) -> list[FinishedTraining]:
    """Trains each of `planned` to its end, as many at once as there are slots. What has ended already is not repeated.

    Few trainings use more threads than their slots have CPUs, so that the last one leaves none idle.

    Args:
        planned: all with the same number of epochs, and of the same fold.
        phase: the folder in the run directory; it gets epochs.jsonl, and its store finished networks.

    Returns:
        Those that have ended, in the order of `planned`: all of them, unless the study was interrupted.

    Raises:
        StudyFailed: Ray, the disk or the store failed.
    """
    folder, epochs, fold = context.folder.below(phase), planned[0].recipe.epochs, planned[0].fold
    total, title = float(len(planned) * epochs), phase if fold is None else f"{phase}, fold {fold}"
    progress = context.output.follow(PhaseSize(title, len(planned), epochs, (total, total), context.slots.count))
    with EventLog(folder.path / "epochs.jsonl", [folder.after_event]) as log:
        delete_left_over_checkpoints(folder.store, log)
        numbers = [_number(each, log) for each in planned]
        progress.catch_up(log.events, set(numbers))
        log.add_listener(progress.apply)
        left = [
            (number, each) for number, each in zip(numbers, planned, strict=True) if _end(log.state, number) is None
        ]
        if left:
            recorder = Recorder(log, folder.store, epochs, {number: each.labels for number, each in left})
            configs = [config_of(number, each.recipe.as_dict(), 0) for number, each in left]
            setup = context.worker_setup(
                folder,
                on_all_training_images=options.on_all_training_images,
                fold=fold,
                keep_weights=options.keep_weights,
                threads=context.threads_of(len(planned)),
            )
            with progress.live():
                source = TrialSource(ListSearcher(configs), None, len(left))
                run_trials(source, setup, recorder, log, context.slots, context.interruption)
        ends = [(number, each, _end(log.state, number)) for number, each in zip(numbers, planned, strict=True)]
    return [FinishedTraining(number, each, end.status, end.reason) for number, each, end in ends if end is not None]


def _end(state: State, number: int) -> Any:
    return state.trials[number].end


def _number(planned: PlannedTraining, log: EventLog) -> int:
    """The number of `planned` in the log; a new one is recorded where it has none.

    A training that failed because of an error, not because of its recipe, is tried again under a new number.
    """
    for number, trial in log.state.trials.items():
        started = trial.started
        same = dict(started.labels) == planned.labels and Recipe.from_dict(started.config) == planned.recipe
        if same and not (trial.end is not None and trial.end.status == "failed"):
            return number
    number = len(log.state.trials)
    log.append(
        TrialStarted(number=number, labels=planned.labels, config=planned.recipe.as_dict(), seed=planned.recipe.seed)
    )
    return number
