"""A picture of each augmentation, on training images of the real CIFAR-10.

    python docs/augmentations.py --data-dir data

Writes docs/augmentations/<name>.png: eight images as they are, then as three epochs would see them. Below each
stands its label, or its shares of two.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from study import data
from study.data import DataOptions
from study.recipe import Recipe
from study.training import augmentation as augment

FOLDER = Path(__file__).parent / "augmentations"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHOWN = {
    "flip-random": Recipe(flip="random"),
    "flip-alternating": Recipe(flip="alternating"),
    "translate-4": Recipe(translate=4),
    "cutout-16": Recipe(cutout=16),
    "jitter-0.4": Recipe(jitter=0.4),
    "mixup-1": Recipe(mixup=1.0),
    "cutmix-1": Recipe(cutmix=1.0),
}
IMAGES, EPOCHS = 8, 3
SCALE, MARGIN, LEFT = 3, 16, 64


def seen(pixels: Tensor, labels: Tensor, recipe: Recipe, epoch: int) -> tuple[Tensor, Tensor]:
    """What the network sees in `epoch`, brought back to pixels uint8 [N, 32, 32, 3], and the targets of the loss."""
    images = augment.gather(pixels, torch.arange(len(pixels)), recipe, epoch)
    # The normalisation "half": what cutout blanks is mid-grey.
    normalised = augment.augment(images, recipe, "pixels") / 127.5 - 1
    blended, targets = augment.blend(augment.augment(normalised, recipe, "normalized"), labels, recipe, len(CLASSES))
    return (blended * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1), targets


def caption(target: Tensor) -> str:
    """The label, or the shares of a blended target [10]."""
    if target.dim() == 0:
        return CLASSES[int(target)]
    shares = sorted(
        ((float(share), name) for share, name in zip(target, CLASSES, strict=True) if share > 0.005), reverse=True
    )
    return ", ".join(f"{share:.0%} {name}" for share, name in shares)


def picture(pixels: Tensor, labels: Tensor, recipe: Recipe) -> Image.Image:
    """A row of the images as they are, and a row for each epoch."""
    tile = pixels.shape[1] * SCALE
    sheet = Image.new("RGB", (LEFT + IMAGES * (tile + 8), (1 + EPOCHS) * (tile + MARGIN)), "white")
    draw = ImageDraw.Draw(sheet)
    rows = [("original", pixels, labels)]
    rows += [(f"epoch {epoch}", *seen(pixels, labels, recipe, epoch)) for epoch in range(1, 1 + EPOCHS)]
    for row, (name, images, targets) in enumerate(rows):
        top = row * (tile + MARGIN)
        draw.text((4, top + tile // 2 - 6), name, "black")
        for column, (image, target) in enumerate(zip(images, targets, strict=True)):
            left = LEFT + column * (tile + 8)
            enlarged = Image.fromarray(np.asarray(image)).resize((tile, tile), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left, top))
            draw.text((left, top + tile + 1), caption(target), "black", font_size=8)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="A picture of each augmentation.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    data_dir = parser.parse_args().data_dir
    training = data.load("cifar10", DataOptions(data_dir)).training
    pixels, labels = (
        torch.from_numpy(training.images[:IMAGES].copy()),
        torch.from_numpy(training.labels[:IMAGES].copy()),
    )
    FOLDER.mkdir(exist_ok=True)
    for name, recipe in SHOWN.items():
        torch.manual_seed(0)
        picture(pixels, labels, recipe).save(FOLDER / f"{name}.png", optimize=True)
        print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
