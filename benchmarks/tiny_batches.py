"""What makes a step on a few images faster, and what does not: another memory layout, no oneDNN, a compiled network.

    python -m benchmarks.tiny_batches

The example's network (6 and 16 channels, 128 and 64 hidden) in this suite's loop, one thread, without validation; the
arms in turn, --repeats epochs of --steps steps each. The compiled arm's first epoch, which compiles, is not counted.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import cast

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from study import data
from study.data import DataOptions, Split
from study.recipe import BASELINE
from study.training.loop import Epoch, Training

ARMS = ("channels-last, oneDNN", "contiguous, oneDNN", "contiguous, torch's own", "compiled")


def training(arm: str, split: Split, batch_size: int) -> Iterator[Epoch]:
    """One training of the example's network as `arm` has it, without an end."""
    fields = {"channels": "6-16", "kernel": 5, "hidden": "128-64", "batch_size": batch_size, "epochs": 1000}
    found = Training(BASELINE.with_fields({**fields, "normalization": "cifar10"}), split)
    found._tiny = "torch's own" in arm
    found._layout = torch.contiguous_format if "contiguous" in arm else torch.channels_last
    found.model.to(memory_format=found._layout)
    if arm == "compiled":
        found.model = cast("nn.Module", torch.compile(found.model, dynamic=False))
    return iter(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="What might make a step on a few images faster.")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[2, 4, 8, 16, 32])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    every = data.load("cifar10", DataOptions(arguments.data_dir)).training
    table = Table("batch", *(f"{arm}, us" for arm in ARMS), box=None)
    for batch_size in arguments.batch_sizes:
        images = batch_size * arguments.steps
        split = Split(every.images[:images], every.labels[:images])
        arms = {arm: training(arm, split, batch_size) for arm in ARMS}
        took: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for repeat in range(arguments.repeats + 1):
            for arm, epochs in arms.items():
                seconds = next(epochs).seconds
                if repeat:
                    took[arm].append(1e6 * seconds / arguments.steps)
        table.add_row(
            str(batch_size),
            *(f"{median(each):.0f} ({min(each):.0f} to {max(each):.0f})" for each in took.values()),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
