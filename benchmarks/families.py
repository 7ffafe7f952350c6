"""What each network family costs and learns: parameters, seconds an epoch, validation accuracy.

    python -m benchmarks.families
    python -m benchmarks.families --only cnn fast

Each recipe is trained once on the 45,000 training images, one seed, on all of this machine's cores, and validated on
the 5,000 held out. The test set stays closed.
"""

import argparse
import os
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from study import data
from study.data import DataOptions
from study.recipe import BASELINE, RECIPES, Recipe
from study.training.loop import Training

ONE_CYCLE = {
    "optimizer": "nesterov", "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128, "schedule": "one_cycle",
    "flip": "random", "translate": 2, "normalization": "cifar10",
}  # fmt: skip
DEEP = BASELINE.with_fields({**ONE_CYCLE, "lr": 0.1, "precision": "bfloat16", "epochs": 1})
CNN = BASELINE.with_fields({**ONE_CYCLE, "lr": 0.05, "padding": "same", "epochs": 15})
FAMILIES: dict[str, Recipe] = {
    "baseline": BASELINE,
    "cnn": CNN.with_fields({"channels": "16-32"}),
    "cnn-deep": CNN.with_fields({"channels": "32-64-128", "batch_norm": True, "epochs": 5}),
    **{
        name: CNN.with_fields({"channels": "16-32", "epochs": 3, **varied})
        for name, varied in {
            "adam": {"optimizer": "adam", "lr": 0.002, "weight_decay": 0.0},
            "adamw": {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.01},
            "rmsprop": {"optimizer": "rmsprop", "lr": 0.001, "weight_decay": 0.0, "momentum": 0.0},
            "step": {"schedule": "step", "warmup": 0.1},
            "erased": {"flip": "alternating", "cutout": 8, "jitter": 0.2},
            "mixup": {"mixup": 0.2},
            "cutmix": {"cutmix": 1.0},
        }.items()
    },
    "fast": RECIPES["fast"].with_fields({"epochs": 10}),
    "resnet18": DEEP.with_fields({"model": "resnet18"}),
    "vgg11_bn": DEEP.with_fields({"model": "vgg11_bn"}),
    "vgg16_bn": DEEP.with_fields({"model": "vgg16_bn"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Parameters, seconds an epoch and validation accuracy by family.")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train, validation = data.load("cifar10", DataOptions(arguments.data_dir)).split()
    table = Table(
        "family", "widths", "precision", "parameters", "epochs", "s an epoch", "validation accuracy", box=None
    )
    for name in arguments.only:
        recipe = FAMILIES[name]
        training = Training(recipe, train, validation)
        epochs = list(training)
        seconds = sorted(epoch.seconds for epoch in epochs)[len(epochs) // 2]
        parameters = sum(each.numel() for each in training.model.parameters())
        widths = recipe.channels if "channels" not in recipe.unused_fields() else ""
        accuracy = epochs[-1].metrics["val_accuracy"]
        row = (widths, recipe.precision, f"{parameters:,}", str(len(epochs)), f"{seconds:.1f}", f"{accuracy:.2%}")
        table.add_row(name, *row)
        print(name, *row, flush=True)
    Console(width=120).print(table)
    print(f"{arguments.threads} threads, torch {torch.__version__}, one seed each; median of the epochs' seconds")


if __name__ == "__main__":
    main()
