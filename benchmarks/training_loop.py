"""Seconds an epoch of the training loop against a bare in-memory loop and against DataLoader with PIL transforms.

    python -m benchmarks.training_loop

The same network, optimizer, batch size and images in all arms; each epoch trains on --images images and validates on
1,000. The bare loop is what one writes by hand: normalised float images in memory, a shuffled index, nothing else. The
arms take turns, --repeats epochs each after one to warm up; medians, and ratios of medians. The last column is the
share of what the same network's forward and backward pass reach alone on one batch that never changes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
import torchvision
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from benchmarks.tutorial import LocalCIFAR10
from study import data
from study.data import CIFAR10, DataOptions, Split
from study.recipe import BASELINE, RECIPES, Recipe
from study.training import models
from study.training.loop import Training, normalization

CNN = BASELINE.with_fields({"channels": "16-32", "padding": "same", "epochs": 10_000})
CASES: dict[str, Recipe] = {
    **{f"cnn, batch {size}": CNN.with_fields({"batch_size": size}) for size in (4, 32, 128, 512)},
    "fast": RECIPES["fast"].with_fields({"epochs": 10_000}),
}
VALIDATED = 1_000


def suite(recipe: Recipe, train: Split, validation: Split) -> Callable[[], None]:
    epochs = iter(Training(recipe, train, validation))
    return lambda: (next(epochs), None)[1]


def _step(model: Module, optimizer: Optimizer, recipe: Recipe, images: Tensor, labels: Tensor) -> float:
    """One step as it is written by hand; its loss."""
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def bare(recipe: Recipe, train: Split, validation: Split) -> Callable[[], None]:
    """Without the recipe's augmentation, which a bare loop has not."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in normalization(recipe, CIFAR10))

    def normalised(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(split.images).permute(0, 3, 1, 2).float().div(255)
        return ((images - mean) / std).contiguous(), torch.from_numpy(split.labels)

    images, labels = normalised(train)
    validation_images, validation_labels = normalised(validation)
    model = models.build(recipe, CIFAR10, images[:1000])
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum)

    def epoch() -> None:
        model.train()
        total = 0.0
        for index in torch.randperm(len(labels)).split(recipe.batch_size):
            total += _step(model, optimizer, recipe, images[index], labels[index])
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            (model(validation_images).argmax(1) == validation_labels).float().mean().item()

    return epoch


def loader(recipe: Recipe, train: Split, validation: Split) -> Callable[[], None]:
    """torchvision's dataset with PIL transforms and a DataLoader without workers: one thread, as the other arms."""
    dataset = LocalCIFAR10(train)
    if recipe.flip != "none":
        transforms = torchvision.transforms
        moved = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, padding=max(1, recipe.translate))]
        dataset.transform = transforms.Compose([*moved, dataset.transform])
    batches = DataLoader(dataset, recipe.batch_size, shuffle=True)
    validated = DataLoader(LocalCIFAR10(validation), recipe.batch_size)
    model = models.build(recipe, CIFAR10, torch.stack([dataset[at][0] for at in range(1000)]))
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum)

    def epoch() -> None:
        model.train()
        total = 0.0
        for images, labels in batches:
            total += _step(model, optimizer, recipe, images, labels)
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            sum(int((model(images).argmax(1) == labels).sum()) for images, labels in validated)

    return epoch


def alone(recipe: Recipe, train: Split) -> Callable[[], None]:
    """Forward and backward passes only, as many images as an epoch trains on, on one batch of the suite's layout."""
    training = Training(recipe, train)
    model = training.model.train()
    size = recipe.batch_size
    images = training._normalized(training._pixels[:size].permute(0, 3, 1, 2))
    labels = training._labels[:size]

    def epoch() -> None:
        for _ in range(len(train.labels) // size):
            with training._autocast():
                loss = F.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds an epoch of the training loop against two others.")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    every, held_out = data.load("cifar10", DataOptions(arguments.data_dir)).split()
    train = Split(every.images[: arguments.images], every.labels[: arguments.images])
    validation = Split(held_out.images[:VALIDATED], held_out.labels[:VALIDATED])
    headings = (
        "network",
        "s an epoch (range)",
        "of bare loop",
        "of DataLoader + PIL",
        "images/s",
        "of the passes alone",
    )
    table = Table(*headings, box=None)
    for name in arguments.only:
        recipe = CASES[name]
        arms = {
            "suite": suite(recipe, train, validation),
            "bare": bare(recipe, train, validation),
            "loader": loader(recipe, train, validation),
            "alone": alone(recipe, train),
        }
        took: dict[str, list[float]] = {arm: [] for arm in arms}
        for repeat in range(arguments.repeats + 1):
            for arm, epoch in arms.items():
                began = time.perf_counter()
                epoch()
                if repeat:
                    took[arm].append(time.perf_counter() - began)
        middle = {arm: median(seconds) for arm, seconds in took.items()}
        row = (
            f"{middle['suite']:.2f} ({min(took['suite']):.2f} to {max(took['suite']):.2f})",
            f"{middle['suite'] / middle['bare']:.2f} x", f"{middle['suite'] / middle['loader']:.2f} x",
            f"{arguments.images / middle['suite']:.0f}", f"{middle['alone'] / middle['suite']:.0%}",
        )  # fmt: skip
        table.add_row(name, *row)
        print(name, *row, flush=True)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
