"""How many changed copies, and how many published near duplicates, study.data finds on CIFAR-10:

    python -m benchmarks.near_duplicates
    python -m benchmarks.near_duplicates --annotated duplicates_cifar10.csv

The annotation is meta/duplicates_cifar10.csv of https://github.com/cvjena/cifair (Barz and Denzler 2020,
arXiv:1902.00423): test image, training image, distance, judgment by eye (1: near duplicate, 2: very similar). Test
images are read to measure a check of the data; nothing is trained.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from study.data.near_duplicates import between
from study.data.sources import cifar10, records

Pixels = NDArray[np.uint8]


def recompressed(image: Pixels, quality: int) -> Pixels:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=quality)
    return np.asarray(Image.open(encoded))


def shifted(image: Pixels, by: int) -> Pixels:
    return np.pad(image, ((by, 0), (by, 0), (0, 0)), "edge")[:32, :32]


def cropped(image: Pixels, side: int) -> Pixels:
    margin = (32 - side) // 2
    inner = Image.fromarray(image[margin : 32 - margin, margin : 32 - margin])
    return np.asarray(inner.resize((32, 32), Image.Resampling.BILINEAR))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG of quality 50": lambda image: recompressed(image, 50),
    "JPEG of quality 20": lambda image: recompressed(image, 20),
    "1.3 times as bright": lambda image: np.clip(image * 1.3, 0, 255).astype(np.uint8),
    "0.6 times as bright": lambda image: (image * 0.6).astype(np.uint8),
    "half the resolution": lambda image: np.asarray(Image.fromarray(image).resize((16, 16)).resize((32, 32))),
    "shifted by 1 pixel": lambda image: shifted(image, 1),
    "shifted by 2 pixels": lambda image: shifted(image, 2),
    "cropped to 30 x 30": lambda image: cropped(image, 30),
    "cropped to 28 x 28": lambda image: cropped(image, 28),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall of the check for near duplicates.")
    parser.add_argument("--images", type=int, default=1000, help="training images that are copied")
    parser.add_argument("--annotated", type=Path, help="duplicates_cifar10.csv")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    training = records.read(arguments.data_dir, cifar10.TRAINING).images
    drawn = np.random.default_rng(0).choice(len(training), arguments.images, replace=False)
    for name, change in CHANGES.items():
        pairs = between(np.stack([change(image) for image in training[drawn]]), training)
        print(f"{name}: {np.mean(np.isin(np.arange(len(drawn)), pairs.first[drawn[pairs.first] == pairs.second])):.1%}")
    if arguments.annotated is not None:
        test = records.read(arguments.data_dir, cifar10.TEST).images
        pairs = between(test, training)
        found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
        print(f"test images reported: {len(set(pairs.first.tolist()))} of {len(test)}")
        for judgment, rows in pd.read_csv(arguments.annotated).groupby("Judgment"):
            hits = sum(pair in found for pair in zip(rows["TestID"], rows["TrainID"], strict=True))
            print(f"annotated pairs of judgment {judgment}: {hits} of {len(rows)}")


if __name__ == "__main__":
    main()
