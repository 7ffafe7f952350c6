"""What is said about a data set before anything is trained on it.

Nothing here changes the data set or chooses anything: it counts, and names images, for people to look at.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.data import contact_sheet, near_duplicates
from study.data.dataset import CHUNK, Dataset, Split
from study.data.near_duplicates import Pairs

EXAMPLES = 10
ROWS = 40  # of a picture


@dataclass(frozen=True, eq=False)
class TestFindings:
    """What is said about the test set, in counts and indices; made by `study.data.test_set` only.

    Attributes:
        counts: test images of each class.
        constant: test images of one colour.
        leaks: test and training image of each pair that is equal, or nearly; those that are equal have similarity 1.
        equal_leaks: how many test images are equal to a training image, pixel by pixel.
        other_label: how many of those have another label than the training image.
    """

    counts: list[int]
    constant: list[int]
    leaks: Pairs
    equal_leaks: int
    other_label: int

    @property
    def leaked(self) -> list[int]:
        """The test images that are, equal or nearly, also among the training images."""
        return [int(index) for index in np.unique(self.leaks.first)]


@dataclass(frozen=True, eq=False)
class Findings:
    """What is said about the training images, and about the test set.

    Attributes:
        counts: images of each class, by split.
        constant: images of one colour.
        equal: groups of images that are equal, pixel by pixel.
        conflicting: those of the groups whose labels differ.
        near: pairs of images that are not equal but nearly.
    """

    dataset: Dataset
    counts: dict[str, list[int]]
    constant: list[int]
    equal: list[list[int]]
    conflicting: list[list[int]]
    near: Pairs
    test: TestFindings

    def as_dict(self) -> dict[str, Any]:
        """For --json: counts, and the first EXAMPLES images of each kind by name or number."""
        spec, dataset = self.dataset.spec, self.dataset
        counts = {**self.counts, "test": self.test.counts}
        return {
            "name": dataset.name,
            "size": [spec.height, spec.width, spec.channels],
            "mean": list(spec.mean),
            "std": list(spec.std),
            "allows_flip": dataset.allows_flip,
            "classes": {
                name: {part: own[label] for part, own in counts.items()}
                for label, name in enumerate(dataset.class_names)
            },
            "notes": list(dataset.notes),
            **dataset.digests(),
            "constant": _counted([self.name(index) for index in self.constant]),
            "equal": _counted([self.names(group) for group in self.equal]),
            "equal_with_other_labels": _counted([self.names(group) for group in self.conflicting]),
            "near_duplicates": _counted(
                [self.names(pair) for pair in zip(self.near.first, self.near.second, strict=True)]
            ),
            "test_constant": _counted(self.test.constant),
            "test_also_in_training": {
                "count": len(self.test.leaked),
                "share": len(self.test.leaked) / sum(self.test.counts),
                "equal": self.test.equal_leaks,
                "equal_with_other_label": self.test.other_label,
                "images": self.test.leaked,
            },
        }

    def name(self, index: int) -> str:
        return self.dataset.names[index] if self.dataset.names else str(index)

    def names(self, indices: Sequence[int]) -> list[str]:
        return [self.name(int(index)) for index in indices]


def inspect(dataset: Dataset) -> Findings:
    """All that is said about `dataset`.

    Raises:
        DataError: the test set cannot be read.
    """
    from study.data import test_set

    training = dataset.training
    train, validation = dataset.split()
    equal = equal_images(training.images)
    near = near_duplicates.within(training.images)
    return Findings(
        dataset,
        {"train": class_counts(train, dataset), "validation": class_counts(validation, dataset)},
        constant_images(training.images),
        equal,
        [group for group in equal if len(set(training.labels[group])) > 1],
        _without_equal(near, training.images),
        test_set.inspect(dataset),
    )


def class_counts(split: Split, dataset: Dataset) -> list[int]:
    counts: list[int] = np.bincount(split.labels, minlength=len(dataset.class_names)).tolist()
    return counts


def constant_images(images: NDArray[np.uint8]) -> list[int]:
    """The images whose pixels all have one colour."""
    found: list[int] = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        is_constant = (chunk.min((1, 2)) == chunk.max((1, 2))).all(1)
        found += (np.flatnonzero(is_constant) + start).tolist()
    return found


def fingerprints(images: NDArray[np.uint8]) -> list[bytes]:
    """One a image; equal for images that are equal, pixel by pixel."""
    return [blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]


def equal_images(images: NDArray[np.uint8]) -> list[list[int]]:
    """Groups of two or more images that are equal, pixel by pixel."""
    groups = defaultdict[bytes, list[int]](list)
    for index, fingerprint in enumerate(fingerprints(images)):
        groups[fingerprint].append(index)
    return [group for group in groups.values() if len(group) > 1]


def write_pictures(findings: Findings, folder: Path) -> list[Path]:
    """Contact sheets of the training images: some of each class, and what was found.

    Raises:
        DataError: they cannot be written.
    """
    dataset, images, labels = findings.dataset, findings.dataset.training.images, findings.dataset.training.labels
    near = list(zip(findings.near.first.tolist(), findings.near.second.tolist(), strict=True))
    of_class = [np.flatnonzero(labels == label)[:EXAMPLES].tolist() for label in range(len(dataset.class_names))]
    sheets = {
        "classes": list(zip(dataset.class_names, of_class, strict=True)),
        "constant": [(findings.name(index), [index]) for index in findings.constant],
        "equal": [(findings.name(group[0]), group[:EXAMPLES]) for group in findings.equal],
        "equal-with-other-labels": [(findings.name(group[0]), group[:EXAMPLES]) for group in findings.conflicting],
        "near-duplicates": [(f"{findings.name(a)}, {findings.name(b)}", [a, b]) for a, b in near],
    }
    written = []
    for name, rows in sheets.items():
        if rows:
            shown = rows if name == "classes" else rows[:ROWS]
            contact_sheet.write(folder / f"{name}.png", [(title, list(images[own])) for title, own in shown])
            written.append(folder / f"{name}.png")
    return written


def _without_equal(pairs: Pairs, images: NDArray[np.uint8]) -> Pairs:
    differ = np.array(
        [not np.array_equal(images[a], images[b]) for a, b in zip(pairs.first, pairs.second, strict=True)], bool
    )
    return Pairs(pairs.first[differ], pairs.second[differ], pairs.similarity[differ])


def _counted(examples: Sequence[Any]) -> dict[str, Any]:
    return {"count": len(examples), "examples": list(examples[:EXAMPLES])}
