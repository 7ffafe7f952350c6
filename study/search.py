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
    """How many trials, of how many epochs, and how ASHA stops them."""

    samples: int
    max_epochs: int
    grace_period: int
    reduction_factor: int


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

    Raises:
        StudyFailed: Ray failed, or no trial can be ranked.
    """
    with Record(run_dir / "epochs.jsonl", [screen]) as record, screen.live():
        study, unfinished = rebuild(run_dir / "optuna.db", question, record.events)
        recorder = Recorder(record, settings.max_epochs)
        scheduler = RecordedASHA(settings.max_epochs, settings.grace_period, settings.reduction_factor)

        def record_suggestion(suggestion: Suggestion) -> None:
            named = {"number": suggestion.number, "trial_id": f"trial_{suggestion.number:05d}"}
            record.append({"event": "trial", **named, "config": suggestion.config, "seed": suggestion.recipe.seed})

        run_trials(
            OptunaSearcher(study, question, settings.samples, unfinished, record_suggestion),
            scheduler,
            recorder,
            count=settings.samples,
            arrays=Arrays(*data.split(training)),
            slots=slots,
            interruption=interruption,
            folder=run_dir,
            checkpoint_epochs=scheduler.rungs,
        )
        if interruption.reason == "time budget":
            for number in recorder.unfinished():
                recorder.end(number, "stopped", "time budget")
                tell(study, number, "stopped", None)
                (run_dir / "checkpoints" / f"{number}.pt").unlink(missing_ok=True)
    interruption.lift_deadline()
    run = results.load_run(run_dir)
    results.write_tables(run)
    if interruption.signal_number is None:
        _keep_best(run)


def _keep_best(run: results.Run) -> None:
    ranked = results.leaderboard(run.trials)
    if ranked.empty:
        reasons = run.trials["stop_reason"].dropna().value_counts()
        why = f"most often: {reasons.index[0]}" if len(reasons) else "none finished an epoch"
        raise StudyFailed(f"no trial can be ranked; {why}")
    winner, accuracy = int(ranked.index[0]), float(ranked["val_accuracy"].iloc[0])
    write_json(run.path / "best.json", {"recipe": run.recipe(winner), "trial": winner, "val_accuracy": accuracy})
