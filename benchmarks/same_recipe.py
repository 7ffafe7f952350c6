"""How often do two trainings of the same recipe "differ" by McNemar's test? Real networks, nothing simulated.

    python -m benchmarks.same_recipe
    python -m benchmarks.same_recipe --dataset digits --images 400 --evaluated 498

One recipe is trained from several seeds on the same images of the training set, and each pair of networks is compared
on other images of it, which none was trained on. The test set stays sealed. Both networks of a pair come from one
recipe, so a test that speaks of recipes would say "differ" of 5% of the pairs.
"""

import argparse
import itertools
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from results.model_comparison import SIGNIFICANCE, mcnemar
from study import data
from study.data import DataOptions, Dataset, Split
from study.recipe import Recipe
from study.training.loop import Training

RECIPE = Recipe(
    channels="8-16", padding="same", hidden="64", optimizer="nesterov", lr=0.05, momentum=0.9, weight_decay=5e-4,
    batch_size=64, schedule="one_cycle",
)  # fmt: skip


def two_parts(dataset: Dataset, images: int, evaluated: int) -> tuple[Split, Split]:
    """Training images drawn at random: `images` to train on, and `evaluated` others."""
    order = np.random.default_rng(0).permutation(len(dataset.training.labels))
    parts = np.sort(order[:images]), np.sort(order[images : images + evaluated])
    return tuple(Split(dataset.training.images[part], dataset.training.labels[part]) for part in parts)  # type: ignore[return-value]


def trained(recipe: Recipe, parts: tuple[Split, Split], dataset: Dataset, seeds: int) -> Iterator[NDArray[np.bool_]]:
    """Which of the evaluated images the network of each seed gets right, bool [images]."""
    train, evaluated = parts
    for seed in range(seeds):
        training = Training(recipe.with_fields({"seed": seed}), train, spec=dataset.spec)
        for _ in training:
            pass
        yield training.predict(evaluated.images).argmax(1) == evaluated.labels


def share_that_differs(correct: NDArray[np.bool_]) -> tuple[float, float]:
    """Of all pairs of networks, bool [seeds, images]: the share with p < 0.05, and the mean share of images that one
    of the two alone gets right."""
    pairs = list(itertools.combinations(correct, 2))
    differ = np.mean([mcnemar(one, other).p_value < SIGNIFICANCE for one, other in pairs])
    return float(differ), float(np.mean([(one != other).mean() for one, other in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description='How often two trainings of one recipe "differ" by McNemar\'s test.')
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--images", type=int, default=5_000, help="to train on")
    parser.add_argument("--evaluated", type=int, default=10_000, help="other training images, to compare on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=12)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dataset = data.load(asked.dataset, DataOptions(data_dir=asked.data_dir), print)
    parts, began = two_parts(dataset, asked.images, asked.evaluated), time.perf_counter()
    recipe = RECIPE.with_fields({"epochs": asked.epochs, "flip": "random" if dataset.allows_flip else "none"})
    correct = np.stack(list(trained(recipe, parts, dataset, asked.seeds)))
    accuracies = correct.mean(1)
    differ, disagreement = share_that_differs(correct)
    pairs = asked.seeds * (asked.seeds - 1) // 2
    seconds, deviation = time.perf_counter() - began, 100 * accuracies.std(ddof=1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {seconds:.0f} s")
    print(f"{asked.dataset}: {asked.seeds} seeds, {asked.images:,} images, {asked.epochs} epochs")
    print(f"accuracy on {correct.shape[1]:,} others: {accuracies.mean():.2%}, deviation {deviation:.2f} points")
    print(f"one of two alone is right on {disagreement:.1%} of the images; p < 0.05 in {differ:.0%} of {pairs} pairs")


if __name__ == "__main__":
    main()
