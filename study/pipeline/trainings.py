"""Trainings that are known beforehand: those of the final, of the finalists, and of the audit.

Each set of them has a folder of its own in the run directory, with the same record as the search has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from study.execution.resources import Slots
from study.execution.runner import Arrays, Interruption, ListSearcher, Recorder, run_trials
from study.pipeline.progress import Progress
from study.recipe import Recipe
from study.storage.event_log import Event, EventLog
from study.storage.store import Folder


@dataclass(frozen=True)
class PlannedTraining:
    """One training: what it is for, its whole Recipe with epochs and seed, and the search's trial it comes from."""

    role: str
    recipe: Recipe
    trial: int | None = None

    @property
    def label(self) -> dict[str, Any]:
        """What tells its events from those of another job."""
        return {"role": self.role, "seed": self.recipe.seed} | ({} if self.trial is None else {"trial": self.trial})


@dataclass(frozen=True)
class FinishedTraining:
    """A training that has ended, under the number that it has in its folder's record."""

    number: int
    job: PlannedTraining
    status: str
    reason: str | None


def run_trainings(
    jobs: Sequence[PlannedTraining],
    arrays: Arrays,
    folder: Folder,
    slots: Slots,
    interruption: Interruption,
    screen: Progress,
    *,
    keep_weights: bool = False,
) -> list[FinishedTraining]:
    """Trains each job to its end, side by side where `slots` allow; what the folder's record says is done stays so.

    Args:
        jobs: all with the same number of epochs.
        folder: gets epochs.jsonl, and with `keep_weights` its store each network as `<number>.pt`.

    Returns:
        Those that have ended, in the order of `jobs`: all of them, unless the study was interrupted.

    Raises:
        StudyFailed: Ray or the record failed.
    """
    with EventLog(folder.path / "epochs.jsonl", [screen, folder.after_event]) as record:
        numbers = [_number(job, record) for job in jobs]
        screen.catch_up(record.events, numbers)
        ended = _ends(record.events)
        left = [(number, job) for number, job in zip(numbers, jobs, strict=True) if number not in ended]
        if left:
            with screen.live():
                run_trials(
                    ListSearcher(
                        [{"number": number, "recipe": job.recipe.as_dict(), "recorded": 0} for number, job in left]
                    ),
                    None,
                    Recorder(
                        record, folder.store, left[0][1].recipe.epochs, {number: job.label for number, job in left}
                    ),
                    count=len(left),
                    arrays=arrays,
                    slots=slots,
                    interruption=interruption,
                    folder=folder,
                    checkpoint_epochs=(),
                    keep_weights=keep_weights,
                )
        ended = _ends(record.events)
    return [
        FinishedTraining(number, job, ended[number]["status"], ended[number]["stop_reason"])
        for number, job in zip(numbers, jobs, strict=True)
        if number in ended
    ]


def _ends(events: Sequence[Event]) -> dict[int, Event]:
    return {event["number"]: event for event in events if event["event"] == "end"}


def _number(job: PlannedTraining, record: EventLog) -> int:
    """The number that `job` has in the record, or the next one, under which it is written down.

    A training that failed, by an error and not by its recipe, is tried again under a new number.
    """
    failed = {number for number, end in _ends(record.events).items() if end["status"] == "failed"}
    begun = [event for event in record.events if event["event"] == "trial"]
    for event in begun:
        same = (
            event["role"] == job.role
            and Recipe.from_dict(event["config"]) == job.recipe
            and event.get("trial") == job.trial
        )
        if same and event["number"] not in failed:
            return int(event["number"])
    record.append({"event": "trial", **job.label, "number": len(begun), "config": job.recipe.as_dict()})
    return len(begun)
