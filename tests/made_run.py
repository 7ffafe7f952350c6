"""Run directories written trial by trial, for tests that need to know what is in each of them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, distribution_to_json

from results import Run, load_run
from study.recipe import BASELINE

SOUND_HYPERPARAMETERS = {
    "lr": FloatDistribution(1e-3, 1e-1, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
}
SOUND_TRIALS = 40


@dataclass(frozen=True)
class MadeTrial:
    """One trial: its accuracies are those of its epochs, fractions; its losses are of all of them alike."""

    config: Mapping[str, Any]
    accuracies: Sequence[float] = ()
    status: str = "completed"
    stop_reason: str | None = None
    train_loss: float = 0.9
    val_loss: float = 1.0
    seed: int = 1


def made_run(
    path: Path,
    trials: Sequence[MadeTrial],
    hyperparameters: Mapping[str, BaseDistribution],
    *,
    final: Mapping[str, Any] | None = None,
    correct: Mapping[str, Sequence[bool]] | None = None,
    **study: Any,
) -> Run:
    """Writes the run at `path` and reads it.

    Args:
        trials: in the order of their numbers; trial 0 stands for the baseline.
        hyperparameters: what the space varies.
        final: final/metrics.json, if any.
        correct: role -> whether it is right, per test image, for final/predictions.csv. A wrong one is the next class.
        study: overrides keys of study.json.
    """
    path.mkdir(parents=True)
    write_study(path, hyperparameters, samples=len(trials), **study)
    events = [event for number, trial in enumerate(trials) for event in _events(number, trial)]
    write_events(path / "epochs.jsonl", events)
    if final is not None or correct is not None:
        (path / "final").mkdir()
    if final is not None:
        (path / "final" / "metrics.json").write_text(json.dumps(final))
    if correct is not None:
        labels = np.arange(len(next(iter(correct.values())))) % 10
        table = pd.DataFrame({"image": range(len(labels)), "label": labels})
        for role, right in correct.items():
            table[role] = np.where(right, labels, (labels + 1) % 10)
            table[f"{role}_confidence"] = 0.5
        table.to_csv(path / "final" / "predictions.csv", index=False)
    return load_run(path)


def made_final(accuracy: float = 0.82, *seeds: float, **changes: Any) -> dict[str, Any]:
    """final/metrics.json of two sides that are alike; accuracies of further seeds come after the first."""
    side = {
        "recipe": BASELINE.as_dict(),
        "accuracy": accuracy,
        "interval": [accuracy - 0.01, accuracy + 0.01],
        "n": 10_000,
        "seeds": [{"seed": seed, "accuracy": each} for seed, each in enumerate((accuracy, *seeds), 1)],
    }
    common = {"published_accuracy": 0.6465, "final_epochs": 30, "difference": 0.0, "difference_interval": [-0.01, 0.01]}
    return {"winner": side, "baseline": side, "verdict": "no evidence", "sentence": "They tie.", **common, **changes}


def sound(peak: float = 20 / 39) -> list[MadeTrial]:
    """Forty trials, evenly over lr; the nearer to `peak` (a share of lr's range), the better, from the first epoch on.

    A third of them goes on at each rung; accuracy has settled well before the last of 9 epochs.
    """
    trials = []
    for number in range(SOUND_TRIALS):
        position = number / (SOUND_TRIALS - 1)
        reached = 0.8 - 0.8 * abs(position - peak)
        rank = round(abs(position - peak) * (SOUND_TRIALS - 1))
        epochs, status = (9, "completed") if rank < 7 else (1, "stopped")
        curve = [reached * (1 - math.exp(-2 * epoch)) for epoch in range(1, epochs + 1)]
        config = {"lr": 1e-3 * 100**position, "batch_size": (32, 64, 128)[number % 3]}
        trials.append(MadeTrial(config, curve, status, "rung 1" if status == "stopped" else None))
    return trials


def failing(trials: list[MadeTrial], numbers: list[int]) -> list[MadeTrial]:
    failed = {number: replace(trials[number], accuracies=[], status="diverged") for number in numbers}
    return [failed.get(number, trial) for number, trial in enumerate(trials)]


def write_study(path: Path, hyperparameters: Mapping[str, BaseDistribution], **changes: Any) -> None:
    study = {
        "format": 1,
        "kind": "search",
        "name": path.name,
        "command": ["--name", path.name],
        "arguments": {},
        "status": "finished",
        "reason": None,
        "created": "2026-11-23T11:00:00+00:00",
        "ended": "2026-11-23T12:00:00+00:00",
        "space": "cnn",
        "knobs": {name: json.loads(distribution_to_json(each)) for name, each in hyperparameters.items()},
        "base": BASELINE.as_dict(),
        "samples": 0,
        "max_epochs": 9,
        "grace_period": 1,
        "reduction_factor": 3,
        "rungs": [1, 3, 9],
        "seed": 0,
        "slots": 1,
        "dataset": "cifar10",
        "data": {"digest": "d1" * 32, "split_digest": "5e" * 32, "train": 45000, "validation": 5000},
        "versions": {"python": "3.11"},
        "git": None,
        "hardware": {"machine": "x86_64", "cpus": 2, "cpu": "a CPU", "memory_bytes": 2**33, "gpus": []},
        "seconds": {"search": 60.0},
        "test_openings": [],
    }
    (path / "study.json").write_text(json.dumps(study | changes))


def write_events(record: Path, events: Sequence[Mapping[str, Any]]) -> None:
    record.write_text("".join(json.dumps(event) + "\n" for event in events))


def epoch_event(number: int, epoch: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    """An epoch of ten seconds, of trials that are trained one after another."""
    return {
        "event": "epoch",
        "number": number,
        "training_iteration": epoch,
        "train_loss": 0.9,
        "val_loss": 1.0,
        "val_accuracy": accuracy,
        "seconds": 10.0,
        "time_total_s": 10.0 * epoch,
        "time": 1000.0 * (number + 1) + 10 * epoch,
        **changes,
    }


def _events(number: int, trial: MadeTrial) -> list[dict[str, Any]]:
    begun = 1000.0 * (number + 1)
    named = {"trial_id": f"trial_{number:05d}", "config": dict(trial.config), "seed": trial.seed, "time": begun}
    losses = {"train_loss": trial.train_loss, "val_loss": trial.val_loss}
    events = [{"event": "trial", "number": number, **named}]
    events += [epoch_event(number, epoch, value, **losses) for epoch, value in enumerate(trial.accuracies, 1)]
    if trial.status != "running":
        ended = begun + 10 * len(trial.accuracies)
        about = {"status": trial.status, "stop_reason": trial.stop_reason, "time": ended}
        events.append({"event": "end", "number": number, **about})
    return events
