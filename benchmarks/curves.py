"""Records whole learning curves of recipes drawn at random from the default space, for `benchmarks.schedulers`.

    python -m benchmarks.curves

60 recipes, the baseline among them, 27 epochs each, on the first 4,000 images of a fixed shuffle of the 45,000 training
images; validated on all 5,000 held out. One thread each, one after the other in each of --workers processes. What is in
the table already is not trained again.
"""

import argparse
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

TABLE = Path(__file__).with_name("curves.csv")
RECIPES, EPOCHS, IMAGES = 60, 27, 4_000
SHUFFLE_SEED = 0


def problem(max_epochs: int = EPOCHS) -> SearchProblem:
    """What the table's recipes are drawn from: the default space, around the published recipe."""
    return SearchProblem(search_spaces.SPACES["cnn-wide"], "cnn-wide", BASELINE, max_epochs, seed=0, sampler="random")


def drawn(count: int) -> Iterator[tuple[dict[str, Any], Recipe]]:
    """The first `count` recipes of the table, each with the fields that the space varies."""
    varied = search_spaces.hyperparameters(search_spaces.SPACES["cnn-wide"])
    study = OptunaStudy(problem())
    for _ in range(count):
        suggestion = study.ask()
        assert suggestion is not None
        yield {name: suggestion.draw.fields[name] for name in varied}, suggestion.recipe
        study.apply(suggestion.started())


@cache
def splits(data_dir: Path) -> tuple[Split, Split]:
    train, validation = data.load("cifar10", DataOptions(data_dir)).split()
    kept = np.random.default_rng(SHUFFLE_SEED).permutation(len(train.labels))[:IMAGES]
    return Split(train.images[kept], train.labels[kept]), validation


def curve(recipe: Recipe, data_dir: Path) -> tuple[list[float], float]:
    """Validation accuracy after each epoch, shorter where the training diverged, and the median epoch's seconds."""
    torch.set_num_threads(1)
    accuracies, seconds = [], []
    try:
        for epoch in Training(recipe, *splits(data_dir)):
            accuracy = epoch.metrics["val_accuracy"]
            assert accuracy is not None
            accuracies.append(accuracy)
            seconds.append(epoch.seconds)
    except Diverged:
        pass
    return accuracies, float(np.median(seconds)) if seconds else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="EventLog whole learning curves of the default space's recipes.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = pd.read_csv(TABLE, index_col="recipe") if TABLE.exists() else pd.DataFrame()
    with ProcessPoolExecutor(arguments.workers) as pool:
        waiting = {
            pool.submit(curve, recipe, arguments.data_dir): (number, config)
            for number, (config, recipe) in enumerate(drawn(RECIPES))
            if number not in table.index
        }
        for done in as_completed(waiting):
            number, config = waiting[done]
            accuracies, seconds = done.result()
            after = {f"epoch_{epoch}": accuracy for epoch, accuracy in enumerate(accuracies, 1)}
            row = pd.DataFrame({**config, "seconds": seconds, **after}, index=pd.Index([number], name="recipe"))
            table = pd.concat([table, row]).sort_index()
            table.to_csv(TABLE)
            print(number, f"{accuracies[-1]:.2%}" if accuracies else "diverged at once", flush=True)


if __name__ == "__main__":
    main()
