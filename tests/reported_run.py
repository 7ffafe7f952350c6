"""A made run directory, small and complete, for what draws and reports: no network was trained for it."""

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from PIL import Image

from results import Run, load_run
from study.recipe import BASELINE

HYPERPARAMETERS = {
    "lr": FloatDistribution(5e-4, 0.3, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
    "optimizer": CategoricalDistribution(["sgd", "adamw"]),
    "momentum": FloatDistribution(0.8, 0.98),  # drawn under sgd only
    "translate": IntDistribution(0, 4),
    "batch_norm": CategoricalDistribution([False, True]),
}
RUNGS = [1, 3]
EPOCHS = 4
TEST_IMAGES = 200


def search(path: Path, trials: int = 12, *, final: bool = True, **study: Any) -> Run:
    """A search whose last trial diverged and whose weaker ones were stopped at a rung; `study` overrides study.json."""
    path.mkdir(parents=True)
    random = np.random.default_rng(0)
    events: list[dict[str, Any]] = []
    for number in range(trials):
        events += _trial(number, random, diverges=number == trials - 1 and trials > 1)
    _write_study(path, kind="search", samples=trials, **study)
    _write_events(path / "epochs.jsonl", events)
    run = load_run(path)
    if final:
        winner = run.recipe(int(run.trials["val_accuracy"].idxmax()))
        write_final(path, {"winner": {**winner, "epochs": 30}, "baseline": BASELINE.as_dict()})
    return load_run(path)


def baseline(path: Path, seeds: int = 3) -> Run:
    """A run of one recipe over several seeds, without a search."""
    path.mkdir(parents=True)
    _write_study(path, kind="baseline", space=None, knobs={}, samples=0, rungs=[], command=["--seeds", str(seeds)])
    write_final(path, {"recipe_under_test": BASELINE.as_dict()}, seeds)
    return load_run(path)


def write_final(path: Path, recipes: dict[str, dict[str, Any]], seeds: int = 1) -> None:
    """final/ of the run at `path`, with mistakes as pictures of noise."""
    random = np.random.default_rng(1)
    folder = path / "final"
    (folder / "mistakes").mkdir(parents=True)
    labels = np.arange(TEST_IMAGES) % 10
    table = pd.DataFrame({"image": range(TEST_IMAGES), "label": labels})
    for role, rate in zip(recipes, (0.8, 0.6), strict=False):
        guesses = random.integers(0, 10, TEST_IMAGES)
        table[role] = np.where(random.random(TEST_IMAGES) < rate, labels, guesses)
        table[f"{role}_confidence"] = random.uniform(0.3, 1, TEST_IMAGES)
    table.to_csv(folder / "predictions.csv", index=False)
    first = next(iter(recipes))
    for image in table[table[first] != table["label"]].nlargest(6, f"{first}_confidence")["image"]:
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"mistakes/{image}.png")
    sides = {
        role: {
            "recipe": recipe,
            "accuracy": float((table[role] == labels).mean()),
            "interval": [float((table[role] == labels).mean()) - 0.05, float((table[role] == labels).mean()) + 0.05],
            "n": TEST_IMAGES,
            "seeds": [
                {"seed": 70 + seed, "accuracy": float((table[role] == labels).mean()) - 0.01 * seed}
                for seed in range(seeds)
            ],
        }
        for role, recipe in recipes.items()
    }
    metrics: dict[str, Any] = {**sides, "published_accuracy": 0.6465, "final_epochs": 30}
    if "winner" in recipes:
        metrics |= {
            "difference": sides["winner"]["accuracy"] - sides["baseline"]["accuracy"],
            "difference_interval": [0.1, 0.3],
            "mcnemar": {"only_winner": 50, "only_baseline": 10, "p_value": 1e-7},
            "verdict": "better",
            "about": "models",
            "sentence": "The found model is better than the baseline: 82.50% against 63.50% on 200 test images.",
        }
    else:
        metrics["published_train_loss"] = {"10": 1.073, "30": 0.528}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "dataset": "cifar10"}))
    events: list[dict[str, Any]] = []
    for number, (role, seed) in enumerate(product(recipes, range(seeds))):
        about = {"number": number, "role": role, "seed": 70 + seed}
        events.append({"event": "trial", **about, "config": recipes[role], "time": 1000.0})
        epochs = [{**_epoch(epoch, 0.5, seed / 50), "val_accuracy": None} for epoch in range(1, 31)]
        events += [{"event": "epoch", **about, **epoch} for epoch in epochs]
    _write_events(folder / "epochs.jsonl", events)


def _trial(number: int, random: np.random.Generator, *, diverges: bool) -> list[dict[str, Any]]:
    of_trial = {"number": number, "time": 1000.0 + 60 * number}
    config = {name: getattr(BASELINE, name) for name in HYPERPARAMETERS} if number == 0 else _drawn(random)
    named = {"trial_id": f"trial_{number:05d}", "config": config, "seed": 100 + number}
    events = [{"event": "trial", **of_trial, **named}]
    if diverges:
        reason = "loss nan at epoch 1, step 3"
        return [*events, {"event": "end", **of_trial, "status": "diverged", "stop_reason": reason}]
    last = RUNGS[number % 3 - 1] if number % 3 else EPOCHS
    top = 0.6 + 0.3 * number / (number + 20) - 0.03 * abs(math.log10(config["lr"] / 0.02))
    events += [
        {"event": "epoch", **of_trial, **_epoch(epoch, top, 0), "time": of_trial["time"] + 10 * epoch}
        for epoch in range(1, last + 1)
    ]
    status, reason = ("completed", None) if last == EPOCHS else ("stopped", f"rung {last}")
    return [*events, {"event": "end", **of_trial, "status": status, "stop_reason": reason}]


def _drawn(random: np.random.Generator) -> dict[str, Any]:
    config = {
        "lr": float(np.exp(random.uniform(np.log(5e-4), np.log(0.3)))),
        "batch_size": int(random.choice([32, 64, 128])),
        "optimizer": str(random.choice(["sgd", "adamw"])),
        "translate": int(random.integers(0, 5)),
        "batch_norm": bool(random.integers(0, 2)),
    }
    return config | ({"momentum": float(random.uniform(0.8, 0.98))} if config["optimizer"] == "sgd" else {})


def _epoch(epoch: int, top: float, more_loss: float) -> dict[str, Any]:
    reached = 1 - math.exp(-epoch / 2)
    return {
        "training_iteration": epoch,
        "train_loss": 2.3 - 1.5 * reached + more_loss,
        "val_loss": 2.3 - 1.2 * reached,
        "val_accuracy": 0.1 + (top - 0.1) * reached,
        "seconds": 10.0,
        "time_total_s": 10.0 * epoch,
        "time": 1000.0 + 10 * epoch,
    }


def _write_study(path: Path, **changes: Any) -> None:
    study = {
        "format": 1,
        "name": path.name,
        "command": ["--samples", "12", "--name", path.name],
        "arguments": {},
        "status": "finished",
        "reason": None,
        "created": "2026-11-23T11:20:29+00:00",
        "ended": "2026-11-23T12:10:29+00:00",
        "space": "mine.py:space",
        "knobs": {name: json.loads(distribution_to_json(each)) for name, each in HYPERPARAMETERS.items()},
        "base": BASELINE.as_dict(),
        "max_epochs": EPOCHS,
        "grace_period": 1,
        "reduction_factor": 3,
        "rungs": RUNGS,
        "seed": 0,
        "slots": 2,
        "dataset": "cifar10",
        "data": {"digest": "d1" * 32, "split_digest": "5e" * 32, "train": 45000, "validation": 5000},
        "versions": {"python": "3.11.7", "torch": "2.6.0"},
        "git": {"revision": "ab" * 20, "dirty": False},
        "hardware": {"machine": "x86_64", "cpus": 2, "cpu": "a CPU", "memory_bytes": 8 * 2**30, "gpus": []},
        "seconds": {"data": 1.0, "start_up": 2.0, "search": 600.0, "final": 900.0},
        "test_openings": [{"time": "2026-11-23T12:00:00+00:00", "role": "winner", "seed": 70, "recipe": {}}],
    }
    (path / "study.json").write_text(json.dumps(study | changes))


def _write_events(path: Path, events: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
