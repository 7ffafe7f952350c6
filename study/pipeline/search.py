"""The search: Optuna suggests, ASHA promotes, Ray trains, and the best trial's Recipe is kept."""

from collections.abc import Mapping
from dataclasses import dataclass

import results
from study.data import Dataset
from study.errors import StudyFailed
from study.execution.resources import Slots
from study.execution.runner import Arrays, Interruption, Recorder, run_trials
from study.execution.searcher import OptunaSearcher
from study.execution.trainable import checkpoint_of
from study.pipeline.progress import Progress
from study.search.asha import ASHA
from study.search.optuna_study import OptunaDatabase, OptunaStudy, PausedAsPrunedStorage, Suggestion
from study.search.problem import SearchProblem
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
    with (
        EventLog(run_dir / "epochs.jsonl", [screen, folder.after_event]) as record,
        OptunaDatabase(run_dir / "optuna.db", question, record.events) as database,
        screen.live(),
    ):
        record.follow(database)
        screen.catch_up(record.events)
        asha = ASHA(settings.max_epochs, settings.grace_period, settings.reduction_factor, settings.samples)
        recorder = Recorder(record, folder.store, settings.max_epochs)
        _end_completed(recorder, settings.max_epochs)
        asha.replay(record.events)
        told = OptunaStudy(question, PausedAsPrunedStorage(asha.paused, len(question.history)), record.events)
        record.follow(told)

        def record_suggestion(suggestion: Suggestion) -> None:
            named = {"number": suggestion.number, "trial_id": f"trial_{suggestion.number:05d}"}
            record.append({"event": "trial", **named, "config": suggestion.config, "seed": suggestion.recipe.seed})

        def may_start(number: int) -> bool:
            budget = settings.epoch_budget
            return number < settings.samples and (budget is None or recorder.epochs_spent < budget)

        def end_at_rung(numbers: Mapping[int, int]) -> None:
            for number, rung in numbers.items():
                asha.end(number)
                recorder.end(number, "stopped", f"rung {rung}")
                folder.store.delete(checkpoint_of(number))

        dropped = set[tuple[int, int]]()

        def make_room() -> None:
            end_at_rung(asha.cannot_be_promoted())
            kept = asha.likeliest_to_be_promoted(PAUSED_STATES)
            for number, rung in asha.paused().items():
                if number not in kept and (number, rung) not in dropped:
                    dropped.add((number, rung))
                    folder.store.delete(checkpoint_of(number))

        if told.unfinished or may_start(told.begun):
            run_trials(
                OptunaSearcher(told, asha, may_start, record_suggestion),
                asha,
                recorder,
                count=settings.samples * (len(asha.rungs) + 1),
                arrays=Arrays(*dataset.split()),
                slots=slots,
                interruption=interruption,
                folder=folder,
                checkpoint_epochs=asha.rungs,
                after_each=make_room,
            )
        if interruption.signal_number is None:
            end_at_rung(asha.paused())
        if interruption.reason == "time budget":
            for number in recorder.unfinished():
                recorder.end(number, "stopped", "time budget")
                folder.store.delete(checkpoint_of(number))
    interruption.lift_deadline()
    run = results.load_run(run_dir)
    results.write_tables(run)
    if interruption.signal_number is None:
        _keep_best(run)


def _end_completed(recorder: Recorder, max_epochs: int) -> None:
    """Ends the trials that had their last epoch when the driver died: it is recorded before the end is."""
    for number in recorder.unfinished():
        if recorder.epochs_of(number) >= max_epochs:
            recorder.end(number, "completed", None)


def _keep_best(run: results.Run) -> None:
    ranked = results.leaderboard(run)
    if ranked.empty:
        reasons = run.trials["stop_reason"].dropna().value_counts()
        why = f"most often: {reasons.index[0]}" if len(reasons) else "none finished an epoch"
        raise StudyFailed(f"no trial can be ranked; {why}")
    winner, accuracy = int(ranked.index[0]), float(ranked["val_accuracy"].iloc[0])
    write_json(run.path / "best.json", {"recipe": run.recipe(winner), "trial": winner, "val_accuracy": accuracy})
