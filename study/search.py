"""The search: Optuna suggests, ASHA stops, Ray trains, and the best trial's Recipe is kept."""

from dataclasses import dataclass
from pathlib import Path

import results
from study import data
from study.asha import RecordedASHA
from study.data import Split
from study.record import Record, write_json
from study.resources import Slots
from study.screen import Screen
from study.searcher import OptunaSearcher, Question, Suggestion, rebuild, tell
from study.tuning import Arrays, Interruption, Recorder, StudyFailed, run_trials


@dataclass(frozen=True)
class Settings:
    """How many trials, of how many epochs, and how ASHA stops them.

    With `epoch_budget` no trial begins once all of them together have had so many epochs.
    """

    samples: int
    max_epochs: int
    grace_period: int
    reduction_factor: int
    epoch_budget: int | None = None


def search(
    question: Question,
    settings: Settings,
    training: Split,
    slots: Slots,
    interruption: Interruption,
    screen: Screen,
    run_dir: Path,
) -> None:
    """Runs the search, to its end or its interruption, and writes the record, the tables and best.json to `run_dir`.

    What the record says is done stays so; Optuna's history and ASHA's rungs are filled from it before anything else.

    Raises:
        StudyFailed: Ray failed, or no trial can be ranked.
    """
    with Record(run_dir / "epochs.jsonl", [screen]) as record, screen.live():
        screen.catch_up(record.events)
        scheduler = RecordedASHA(settings.max_epochs, settings.grace_period, settings.reduction_factor)
        _end_what_was_decided(record, scheduler, settings.max_epochs)
        study, unfinished = rebuild(run_dir / "optuna.db", question, record.events)
        recorder = Recorder(record, settings.max_epochs)

        def record_suggestion(suggestion: Suggestion) -> None:
            named = {"number": suggestion.number, "trial_id": f"trial_{suggestion.number:05d}"}
            record.append({"event": "trial", **named, "config": suggestion.config, "seed": suggestion.recipe.seed})

        def may_begin(number: int) -> bool:
            budget = settings.epoch_budget
            return number < settings.samples and (budget is None or recorder.epochs_spent < budget)

        begun = question.numbered(study)
        if unfinished or may_begin(begun):
            run_trials(
                OptunaSearcher(study, question, may_begin, unfinished, record_suggestion),
                scheduler,
                recorder,
                count=len(unfinished) + max(0, settings.samples - begun),
                arrays=Arrays(*data.split(training)),
                slots=slots,
                interruption=interruption,
                folder=run_dir,
                checkpoint_epochs=scheduler.rungs,
            )
        if interruption.reason == "time budget":
            for number in recorder.unfinished():
                recorder.end(number, "stopped", "time budget")
                tell(study, question, number, "stopped", None)
                (run_dir / "checkpoints" / f"{number}.pt").unlink(missing_ok=True)
    interruption.lift_deadline()
    run = results.load_run(run_dir)
    results.write_tables(run)
    if interruption.signal_number is None:
        _keep_best(run)


def _end_what_was_decided(record: Record, scheduler: RecordedASHA, max_epochs: int) -> None:
    """Fills ASHA's rungs from the record, and ends the trials that had their last epoch when the driver died.

    Between a trial's last epoch and its `end` the record can be cut off; what ASHA said then it says again here.
    """
    stopped = scheduler.replay(record.events)
    recorder = Recorder(record, max_epochs)
    for number in recorder.unfinished():
        last = recorder.epochs_of(number)
        if last >= max_epochs:
            recorder.end(number, "completed", None)
        elif number in stopped:
            recorder.end(number, "stopped", f"rung {last}")


def _keep_best(run: results.Run) -> None:
    ranked = results.leaderboard(run.trials)
    if ranked.empty:
        reasons = run.trials["stop_reason"].dropna().value_counts()
        why = f"most often: {reasons.index[0]}" if len(reasons) else "none finished an epoch"
        raise StudyFailed(f"no trial can be ranked; {why}")
    winner, accuracy = int(ranked.index[0]), float(ranked["val_accuracy"].iloc[0])
    write_json(run.path / "best.json", {"recipe": run.recipe(winner), "trial": winner, "val_accuracy": accuracy})
