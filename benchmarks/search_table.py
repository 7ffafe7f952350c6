"""Records complete learning curves of recipes drawn at random from the wide space, for `benchmarks.search_replay`.

    python -m benchmarks.search_table --workers 2

The protocol was fixed before the first result: docs/search-benchmark.md. One thread a training; what is in the table
already is not trained again, so the command may be stopped and started at any time.
"""

import argparse
import copy
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch

import search_spaces
from study import data
from study.data import DataOptions, Split
from study.recipe import BASELINE, Recipe
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem
from study.training.loop import Diverged, Training

CURVES = Path(__file__).with_name("search_table.parquet")
RECIPES_FILE = Path(__file__).with_name("search_table_recipes.parquet")
RECIPES, EPOCHS, IMAGES = 330, 27, 10_000
SECOND_SEED_EVERY = 3
SHUFFLE_SEED = 0
# After these epochs a copy of the training is trained for a quarter of an epoch while lr falls linearly to 0.
ANNEALED_AFTER, ANNEALED_SHARE = (1, 2, 3, 6), 0.25
# The averaged weights forget half of a weight in a quarter of an epoch.
HALF_LIFE_EPOCHS = 0.25


def recipes() -> list[Recipe]:
    """All recipes of the table, the published one first, then random draws; in the order in which they are trained."""
    space = search_spaces.SPACES["cnn-wide"]
    study = OptunaStudy(SearchProblem(space, "cnn-wide", BASELINE, EPOCHS, seed=20261125, sampler="random"))
    found = []
    for _ in range(RECIPES):
        suggestion = study.ask()
        assert suggestion is not None
        found.append(suggestion.recipe)
        study.apply(suggestion.started())
    return found


@cache
def splits(data_dir: Path) -> tuple[Split, Split]:
    train, validation = data.load("cifar10", DataOptions(data_dir)).split()
    kept = np.random.default_rng(SHUFFLE_SEED).permutation(len(train.labels))[:IMAGES]
    return Split(train.images[kept], train.labels[kept]), validation


class Averaged:
    """An exponential moving average of a network's weights, updated after each step."""

    def __init__(self, training: Training) -> None:
        self._decay = 0.5 ** (1 / max(1.0, HALF_LIFE_EPOCHS * training.steps))
        self.weights = [parameter.detach().clone() for parameter in training.model.parameters()]

    def update(self, training: Training) -> None:
        torch._foreach_lerp_(self.weights, [p.detach() for p in training.model.parameters()], 1 - self._decay)

    def accuracy(self, training: Training) -> float:
        own = [parameter.detach().clone() for parameter in training.model.parameters()]
        with torch.no_grad():
            for parameter, weight in zip(training.model.parameters(), self.weights, strict=True):
                parameter.copy_(weight)
            accuracy = training._validate()["val_accuracy"]
            for parameter, weight in zip(training.model.parameters(), own, strict=True):
                parameter.copy_(weight)
        assert accuracy is not None
        return accuracy


def annealed_accuracy(training: Training, recipe: Recipe, data_dir: Path) -> float:
    """Validation accuracy of a copy whose lr falls to 0 over a quarter of an epoch; NaN where that diverges."""
    branch = Training(recipe, *splits(data_dir))
    branch.load_state_dict(copy.deepcopy(training.state_dict()))
    steps = max(1, round(ANNEALED_SHARE * branch.steps))
    branch.model.train()
    with branch._own_generator(), branch._own_convolutions():
        order = torch.randperm(len(branch._labels))
        for step in range(steps):
            branch.recipe = recipe.with_fields({"lr": recipe.lr * max(1e-9, 1 - step / steps)})
            size = recipe.batch_size
            branch._train_on(order[step * size : (step + 1) * size])
    validated = branch._validate()
    loss, accuracy = validated["val_loss"], validated["val_accuracy"]
    return accuracy if accuracy is not None and loss is not None and np.isfinite(loss) else float("nan")


def curve(recipe: Recipe, data_dir: Path) -> list[dict[str, Any]]:
    """One row an epoch, fewer where the training diverged. `seconds` are CPU seconds of this process."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    average: Averaged | None = None
    training = Training(recipe, *splits(data_dir), after_step=lambda each: average.update(each))  # type: ignore[union-attr]
    average = Averaged(training)
    began = time.process_time()
    try:
        for epoch in training:
            seconds = time.process_time() - began
            row = {
                "epoch": epoch.number,
                "val_accuracy": epoch.metrics["val_accuracy"],
                "val_loss": epoch.metrics["val_loss"],
                "train_loss": epoch.metrics["train_loss"],
                "averaged_val_accuracy": average.accuracy(training),
                "annealed_val_accuracy": float("nan"),
                "seconds": seconds,
            }
            if epoch.number in ANNEALED_AFTER:
                row["annealed_val_accuracy"] = annealed_accuracy(training, recipe, data_dir)
            rows.append(row)
            began = time.process_time()
    except Diverged:
        pass
    return rows


def jobs() -> Iterator[tuple[int, int, Recipe]]:
    """Number, repeat (0, or 1 for each third recipe) and Recipe of each training, in the order of training."""
    for number, recipe in enumerate(recipes()):
        yield number, 0, recipe
        if number % SECOND_SEED_EVERY == 0:
            yield number, 1, recipe.with_fields({"seed": recipe.seed + 1})


def write(path: Path, table: pd.DataFrame) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    table.to_parquet(temporary, index=False)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Record complete learning curves of the wide space's recipes.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data.load("cifar10", DataOptions(arguments.data_dir))
    write(RECIPES_FILE, pd.DataFrame([recipe.as_dict() for recipe in recipes()]).rename_axis("recipe").reset_index())
    table = pd.read_parquet(CURVES) if CURVES.exists() else pd.DataFrame(columns=["recipe", "repeat"])
    there = set(zip(table["recipe"], table["repeat"], strict=True))
    with ProcessPoolExecutor(arguments.workers) as pool:
        waiting = {
            pool.submit(curve, recipe, arguments.data_dir): (number, repeat)
            for number, repeat, recipe in jobs()
            if (number, repeat) not in there
        }
        for done in as_completed(waiting):
            number, repeat = waiting[done]
            # A training that diverged at once has one row without an accuracy, so that it is not trained again.
            rows = done.result() or [{"epoch": 0, "seconds": 0.0}]
            new = pd.DataFrame(rows).assign(recipe=number, repeat=repeat)
            table = new if table.empty else pd.concat([table, new], ignore_index=True)
            write(CURVES, table.sort_values(["recipe", "repeat", "epoch"]))
            last = rows[-1].get("val_accuracy")
            print(number, repeat, "diverged at once" if last is None else f"{last:.2%}", flush=True)


if __name__ == "__main__":
    main()
