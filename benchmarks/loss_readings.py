"""How may the published training loss have been read off? Three readings of it beside the published numbers.

    python -m benchmarks.loss_readings

The mean over the epoch's batches (what this suite reports), the last batch alone, the mean of the last 100 batches, and
the loss of the finished epoch's network over all training images. One seed; no test image is looked at.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from study import data
from study.data import DataOptions
from study.recipe import BASELINE
from study.training.loop import Training

PUBLISHED = {10: 1.073, 30: 0.528}


def main() -> None:
    parser = argparse.ArgumentParser(description="Readings of the training loss beside the published ones.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train = data.load("cifar10", DataOptions(arguments.data_dir)).training
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    batches: list[float] = []

    def keep(training: Training) -> None:
        if training.step == training.steps:
            batches[:] = training.state_dict()["losses"].tolist()

    training = Training(BASELINE.with_fields({"seed": arguments.seed}), train, after_step=keep)
    table = Table("epoch", "published", "mean of epoch", "last batch", "last 100 batches", "after the epoch", box=None)
    for epoch in training:
        if epoch.number in PUBLISHED:
            after = float(F.cross_entropy(training._logits(images), labels))
            readings = (
                PUBLISHED[epoch.number],
                epoch.metrics["train_loss"],
                batches[-1],
                sum(batches[-100:]) / 100,
                after,
            )
            table.add_row(str(epoch.number), *(f"{reading:.3f}" for reading in readings))
    Console().print(table)


if __name__ == "__main__":
    main()
