"""The search: Optuna suggests, ASHA promotes, Ray trains, and the best trial's Recipe is kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import results
from results.events import Event, State, from_json
from study.data import Dataset
from study.errors import StudyFailed
from study.execution.ray_scheduler import RayScheduler
from study.execution.resources import Slots
from study.execution.runner import Arrays, Interruption, Recorder, run_trials
from study.execution.searcher import OptunaSearcher
from study.execution.trainable import checkpoint_of
from study.pipeline.progress import Progress
from study.search.optuna_study import OptunaDatabase, OptunaStudy
from study.search.problem import SearchProblem
from study.search.schedulers import PAUSE, SCHEDULERS, STOP, Scheduler, SchedulerSettings
from study.storage.event_log import EventLog, write_json
from study.storage.store import Folder

# Paused trials that keep their state: those most likely to be promoted. Any other one, if it is promoted after all, is
# trained again from its start, on a CPU to the same result bit for bit.
PAUSED_STATES = 16


@dataclass(frozen=True)
class Settings:
    """How many trials, of how many epochs, and how ASHA compares them.

    With `epoch_budget` no trial begins once all of them together have had so many epochs.
    """

    samples: int
    max_epochs: int
    grace_period: int
    reduction_factor: int
    epoch_budget: int | None = None


def search(
    question: SearchProblem,
    settings: Settings,
    dataset: Dataset,
    slots: Slots,
    interruption: Interruption,
    screen: Progress,
    folder: Folder,
) -> None:
    """Runs the search, to its end or its interruption, and writes the record, the tables and best.json to `folder`.

    What the record says is done stays so; Optuna's history and ASHA's rungs are filled from it before anything else.

    Raises:
        StudyFailed: Ray failed, or no trial can be ranked.
    """
    run_dir = folder.path
    with EventLog(run_dir / "epochs.jsonl", [screen, folder.after_event]) as log, screen.live():
        screen.catch_up(log.events)
        past = [from_json(event) for event in log.events]
        study = OptunaStudy(question, past, name=run_dir.name)
        scheduler = SCHEDULERS["asha"](
            SchedulerSettings(
                settings.max_epochs,
                settings.samples,
                settings.grace_period,
                settings.reduction_factor,
                question.metric,
                question.base.as_dict(),
            )
        )
        for event in past:
            scheduler.apply(event)
        with OptunaDatabase(run_dir / "optuna.db", question, study) as database:
            for follower in (scheduler, study, database):
                log.follow(partial(_apply, follower))
            _run(study, scheduler, log, settings, dataset, slots, interruption, folder)
        if database.failure is not None:
            screen.warn(f"optuna.db is not up to date: {database.failure}")
    interruption.lift_deadline()
    run = results.load_run(run_dir)
    results.write_tables(run)
    if interruption.signal_number is None:
        _keep_best(run)


def _apply(follower: Scheduler | OptunaStudy | OptunaDatabase, event: dict[str, Any]) -> None:
    follower.apply(from_json(event))


def _run(
    study: OptunaStudy,
    scheduler: Scheduler,
    log: EventLog,
    settings: Settings,
    dataset: Dataset,
    slots: Slots,
    interruption: Interruption,
    folder: Folder,
) -> None:
    recorder = Recorder(log, folder.store, settings.max_epochs)
    _carry_out(scheduler, recorder, [trial.number for trial in State(map(from_json, log.events)).running()])

    def record(event: Event) -> None:
        log.append(event.to_json())

    def may_start(number: int) -> bool:
        budget = settings.epoch_budget
        return number < settings.samples and (budget is None or recorder.epochs_spent < budget)

    def end_at_rung(numbers: Mapping[int, int]) -> None:
        for number, rung in numbers.items():
            recorder.end(number, "stopped", f"rung {rung}")
            folder.store.delete(checkpoint_of(number))

    dropped = set[tuple[int, int]]()

    def make_room() -> None:
        end_at_rung(scheduler.cannot_be_promoted())
        kept = scheduler.likeliest_to_be_promoted(PAUSED_STATES)
        for number, rung in scheduler.paused().items():
            if number not in kept and (number, rung) not in dropped:
                dropped.add((number, rung))
                folder.store.delete(checkpoint_of(number))

    if study.unfinished or may_start(study.begun):
        run_trials(
            OptunaSearcher(study, scheduler, may_start, record),
            RayScheduler(scheduler, recorder.record_epoch),
            recorder,
            count=settings.samples * (len(scheduler.rungs) + 1),
            arrays=Arrays(*dataset.split()),
            slots=slots,
            interruption=interruption,
            folder=folder,
            checkpoint_epochs=scheduler.rungs,
            after_each=make_room,
        )
    if interruption.signal_number is None:
        end_at_rung(scheduler.paused())
    if interruption.reason == "time budget":
        for number in recorder.unfinished():
            recorder.end(number, "stopped", "time budget")
            folder.store.delete(checkpoint_of(number))


def _carry_out(scheduler: Scheduler, recorder: Recorder, running: Iterable[int]) -> None:
    """Writes down what the scheduler decided after the last epoch of trials that the driver's death left running."""
    for number in running:
        decision = scheduler.decide(number)
        if decision == STOP:
            recorder.end(number, "completed", None)
        elif decision == PAUSE:
            recorder.pause(number)


def _keep_best(run: results.Run) -> None:
    ranked = results.leaderboard(run)
    if ranked.empty:
        reasons = run.trials["stop_reason"].dropna().value_counts()
        why = f"most often: {reasons.index[0]}" if len(reasons) else "none finished an epoch"
        raise StudyFailed(f"no trial can be ranked; {why}")
    winner, accuracy = int(ranked.index[0]), float(ranked["val_accuracy"].iloc[0])
    write_json(run.path / "best.json", {"recipe": run.recipe(winner), "trial": winner, "val_accuracy": accuracy})
