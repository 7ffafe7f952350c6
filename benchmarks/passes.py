"""How many images a pass through the network should take on a CPU, in training and in validation.

    python -m benchmarks.passes

Images a second of this suite's loop, one thread, without augmentation: batches of --batch-sizes in passes of
--images-a-pass, whose gradients add up to the batch's; then validation alone, in batches of as many. The best of
--repeats epochs in turn.
"""

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from study import data
from study.data import DataOptions, Split
from study.recipe import BASELINE, Recipe
from study.training import loop as training
from study.training.loop import Training

NETWORKS = {
    "8-16": BASELINE,
    "16-32, same": BASELINE.with_fields({"channels": "16-32", "padding": "same"}),
    "32-64, same": BASELINE.with_fields({"channels": "32-64", "padding": "same", "hidden": "256"}),
}


def trained(recipe: Recipe, split: Split, passes: list[int], repeats: int) -> list[float]:
    """Images a second, by images a pass."""
    found = []
    for images in passes:
        found.append(Training(recipe.with_fields({"epochs": 1000}), split))
        found[-1]._pass = images
    epochs = [iter(each) for each in found]
    seconds = [[next(each).seconds] for each in epochs]
    for _ in range(repeats):
        for each, took in zip(epochs, seconds, strict=True):
            took.append(next(each).seconds)
    return [len(split.labels) / min(took) for took in seconds]


def validated(recipe: Recipe, split: Split, batches: list[int], repeats: int) -> list[float]:
    """Images a second, by batch."""
    found, seconds = Training(recipe, split), {batch: list[float]() for batch in batches}
    for _ in range(repeats):
        for batch, took in seconds.items():
            training.EVALUATION_BATCH["cpu"] = batch
            began = time.perf_counter()
            found.predict(split.images)
            took.append(time.perf_counter() - began)
    return [len(split.labels) / min(took) for took in seconds.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description="How many images a pass through the network should take on a CPU.")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 256, 512])
    parser.add_argument("--images-a-pass", nargs="+", type=int, default=[32, 64, 128, 512])
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    every = data.load("cifar10", DataOptions(arguments.data_dir)).training
    split = Split(every.images[: arguments.images], every.labels[: arguments.images])
    passes = arguments.images_a_pass
    table = Table("network", "", *(f"{images} a pass" for images in passes), box=None)
    for name, recipe in NETWORKS.items():
        for batch_size in arguments.batch_sizes:
            rates = trained(recipe.with_fields({"batch_size": batch_size}), split, passes, arguments.repeats)
            table.add_row(name, f"batch {batch_size}", *(f"{rate:.0f}" for rate in rates))
        rates = validated(recipe, split, passes, arguments.repeats)
        table.add_row(name, "validation", *(f"{rate:.0f}" for rate in rates))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
