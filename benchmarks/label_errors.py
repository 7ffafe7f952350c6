"""Do the candidate label errors of a finished CIFAR-10 run agree with what people have confirmed?

    python -m benchmarks.label_errors runs/NAME cifar10_mturk.json

The JSON file is `mturk/cifar10_mturk.json` of https://github.com/cleanlab/label-errors (Northcutt, Athalye and Mueller
2021, arXiv:2103.14749): 275 test images whose label confident learning doubted, each with five people's opinions. It is
not part of this repository. No network is evaluated: the run's own probabilities are read.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import results
from results.label_errors import label_errors

AGREE = 3  # of five people; with fewer the label counts as wrong


@dataclass(frozen=True)
class Agreement:
    """How many of some published images are among our candidates.

    Attributes:
        published, candidates, common: numbers of images.
        by_chance: what `common` would be on average for as many candidates drawn at random.
    """

    published: int
    candidates: int
    common: int
    by_chance: float


def agreement(candidates: NDArray[np.int64], published: Iterable[int], images: int) -> Agreement:
    """Compares indices of test images; `images` is how many there are."""
    known = np.array(sorted(published), np.int64)
    common = int(np.isin(known, candidates).sum())
    return Agreement(len(known), len(candidates), common, len(known) * len(candidates) / images)


def published(file: Path) -> tuple[list[int], list[int]]:
    """Indices of all published candidates, and of those whose label fewer than three of five people chose."""
    opinions = json.loads(file.read_text())
    wrong = [each["id"] for each in opinions if each["mturk"]["given"] < AGREE]
    return [each["id"] for each in opinions], wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Candidate label errors of a CIFAR-10 run against published ones.")
    parser.add_argument("run", type=Path)
    parser.add_argument("opinions", type=Path)
    arguments = parser.parse_args()
    final = results.load_run(arguments.run).path / "final"
    labels = pd.read_csv(final / "predictions.csv")["label"].to_numpy(np.int64)
    probabilities = np.stack([np.load(path) for path in sorted((final / "probabilities").glob("*.npy"))])
    accuracies = ", ".join(f"{each:.2%}" for each in (probabilities.argmax(2) == labels).mean(1))
    found = label_errors(labels, probabilities)
    print(f"{len(probabilities)} networks ({accuracies}): {len(found)} candidates among {len(labels):,} test images")
    kinds = ("published candidates", "labels that people found wrong")
    for what, known in zip(kinds, published(arguments.opinions), strict=True):
        each = agreement(found, known, len(labels))
        print(f"{each.common} of {each.published} {what} are among them; by chance {each.by_chance:.1f}")


if __name__ == "__main__":
    main()
