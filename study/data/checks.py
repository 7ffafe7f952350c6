"""What is said about a data set before anything is trained on it.

Nothing here changes the data set or chooses anything: it counts, and names images, for people to look at.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.formatting import count
from study.data import contact_sheet, near_duplicates
from study.data.dataset import CHUNK, Dataset, Split, digest
from study.data.near_duplicates import Pairs
from study.errors import DataError
from study.storage.files import write_json

EXAMPLES = 10
ROWS = 40  # of a picture
IMBALANCED = 3  # times as many images in the largest class as in the smallest
VERSION = 1  # of what is searched for; a change makes what was kept be searched for anew


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
        searched: whether near duplicates were searched for; else only equal images are among the leaks.
        test_names: of the test images, such as file paths; empty: they are known by their number.
    """

    dataset: Dataset
    counts: dict[str, list[int]]
    constant: list[int]
    equal: list[list[int]]
    conflicting: list[list[int]]
    near: Pairs
    test: TestFindings
    searched: bool = True
    test_names: Sequence[str] = ()

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
            "test_constant": _counted([self.test_name(index) for index in self.test.constant]),
            "test_also_in_training": {
                "count": len(self.test.leaked),
                "share": len(self.test.leaked) / sum(self.test.counts),
                "equal": self.test.equal_leaks,
                "equal_with_other_label": self.test.other_label,
                "images": self.test.leaked,
                "pairs": self.leaks(),
            },
        }

    def name(self, index: int) -> str:
        return self.dataset.names[index] if self.dataset.names else str(index)

    def names(self, indices: Sequence[int]) -> list[str]:
        return [self.name(int(index)) for index in indices]

    def test_name(self, index: int) -> str:
        return self.test_names[index] if self.test_names else str(index)

    def leaks(self) -> list[list[str]]:
        """Test and training image of each pair that is equal, or nearly, by name or number."""
        pairs = zip(self.test.leaks.first.tolist(), self.test.leaks.second.tolist(), strict=True)
        return [[self.test_name(test), self.name(training)] for test, training in pairs]

    def leaks_in_words(self) -> Iterator[list[str]]:
        """The pairs of `leaks`; images that have no name are told apart by their part."""
        test = "" if self.test_names else "test image "
        training = "" if self.dataset.names else "training image "
        return ([f"{test}{one}", f"{training}{other}"] for one, other in self.leaks())


def inspect(dataset: Dataset, *, near: bool = True) -> Findings:
    """All that is said about `dataset`. What was found for the same images is kept in the data directory.

    Args:
        near: search for near duplicates, whose time grows with the square of the number of images.

    Raises:
        DataError: the test set cannot be read, or the data directory cannot be written.
    """
    from study.data import test_set

    training = dataset.training
    train, validation = dataset.split()
    asked = [VERSION, near, digest(training), test_set.digest_of_test_images(dataset)]
    file = dataset.options.cache_dir / "checks" / f"{sha256(json.dumps(asked).encode()).hexdigest()[:32]}.json"
    found = _read(file)
    if found is None:
        equal = equal_images(training.images)
        pairs = near_duplicates.within(training.images) if near else Pairs.none()
        found = _Found(
            constant_images(training.images),
            equal,
            _without_equal(pairs, training.images),
            test_set.inspect(dataset, near=near),
        )
        _write(file, found)
    return Findings(
        dataset,
        {"train": class_counts(train, dataset), "validation": class_counts(validation, dataset)},
        found.constant,
        found.equal,
        [group for group in found.equal if len(set(training.labels[group])) > 1],
        found.near,
        found.test,
        near,
        test_set.names_of_images(dataset),
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """The part of `Findings` that takes time and depends on nothing but the images and their labels."""

    constant: list[int]
    equal: list[list[int]]
    near: Pairs
    test: TestFindings


def _read(file: Path) -> _Found | None:
    try:
        content = json.loads(file.read_bytes())
        test = content["test"]
        leaks = Pairs.from_lists(test.pop("leaks"))
        return _Found(
            content["constant"], content["equal"], Pairs.from_lists(content["near"]), TestFindings(leaks=leaks, **test)
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, found: _Found) -> None:
    test = {**vars(found.test), "leaks": found.test.leaks.as_lists()}
    content = {"constant": found.constant, "equal": found.equal, "near": found.near.as_lists(), "test": test}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, content)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}") from None


@dataclass(frozen=True)
class Remark:
    """One thing that was found: a few words, how many images it is about, and a sentence with examples."""

    name: str
    count: int
    sentence: str


def remarks(findings: Findings) -> list[Remark]:
    """What was found, also where it is nothing."""
    test, near = findings.test, findings.near
    leaked, tests = len(test.leaked), sum(test.counts)
    kinds = "equal or nearly" if findings.searched else "equal"
    conflicting = sum(map(len, findings.conflicting))
    constant = [*map(findings.name, findings.constant), *map(findings.test_name, test.constant)]
    found = [
        Remark(
            "equal images in training",
            sum(map(len, findings.equal)),
            f"in {count(len(findings.equal), 'group')}{_examples(findings.names(group) for group in findings.equal)}",
        ),
        Remark(
            "equal images with different labels",
            conflicting,
            f"in {count(len(findings.conflicting), 'group')}"
            f"{_examples(findings.names(each) for each in findings.conflicting)}",
        ),
        Remark(
            "near duplicates in training",
            len(set(near.first.tolist()) | set(near.second.tolist())),
            f"in {count(len(near), 'pair')}"
            f"{_examples(findings.names(pair) for pair in zip(near.first, near.second, strict=True))}"
            if findings.searched
            else "not searched for in so many images; python -m study.data does",
        ),
        Remark(
            f"test images that are also in training, {kinds}",
            leaked,
            f"of {tests:,} ({leaked / tests:.2%}); {test.equal_leaks} equal, {test.other_label} of these with another "
            f"label{_examples(findings.leaks_in_words())}",
        ),
        Remark(
            "images of one colour",
            len(findings.constant) + len(test.constant),
            f"({len(findings.constant)} in training, {len(test.constant)} in the test set)"
            f"{_examples([name] for name in constant)}",
        ),
    ]
    sizes = list(map(sum, zip(*findings.counts.values(), strict=True)))
    if max(sizes) >= IMBALANCED * min(sizes):
        found.append(
            Remark(
                "unequal classes",
                max(sizes),
                f"in the largest class, {max(sizes) / min(sizes):.1f} times as many as in the smallest: accuracy can "
                "mislead, look at balanced accuracy",
            )
        )
    return found


def data_file(findings: Findings) -> dict[str, Any]:
    """The content of a run's data.json, as docs/run-directory.md has it."""
    counts = {**findings.counts, "test": findings.test.counts}
    names = {"train": "training"}
    test = findings.test
    return {
        "counts": {
            names.get(part, part): dict(zip(findings.dataset.class_names, own, strict=True))
            for part, own in counts.items()
        },
        "findings": [
            {"name": each.name, "count": each.count, "evidence": each.sentence}
            for each in remarks(findings)
            if each.count
        ],
        "leaks": {
            "count": len(test.leaked),
            "tests": sum(test.counts),
            "equal": test.equal_leaks,
            "other_label": test.other_label,
        },
        "searched_for_near_duplicates": findings.searched,
    }


def _examples(groups: Iterable[Sequence[str]]) -> str:
    shown = [" = ".join(group[:3]) for group in islice(groups, 3)]
    return f" (such as {'; '.join(shown)})" if shown else ""


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
    dataset, images = findings.dataset, findings.dataset.training.images
    near = list(zip(findings.near.first.tolist(), findings.near.second.tolist(), strict=True))
    sheets = {
        "constant": [(findings.name(index), [index]) for index in findings.constant],
        "equal": [(findings.name(group[0]), group[:EXAMPLES]) for group in findings.equal],
        "equal-with-other-labels": [(findings.name(group[0]), group[:EXAMPLES]) for group in findings.conflicting],
        "near-duplicates": [(f"{findings.name(a)}, {findings.name(b)}", [a, b]) for a, b in near],
    }
    written = [folder / "classes.png"]
    contact_sheet.write(written[0], examples_of_classes(dataset))
    for name, rows in sheets.items():
        if rows:
            shown = [(title, list(images[own])) for title, own in rows[:ROWS]]
            contact_sheet.write(folder / f"{name}.png", shown)
            written.append(folder / f"{name}.png")
    return written


def examples_of_classes(dataset: Dataset) -> list[tuple[str, list[NDArray[np.uint8]]]]:
    """Each class's name with its first EXAMPLES training images, as `contact_sheet.write` takes them."""
    images, labels = dataset.training.images, dataset.training.labels
    return [
        (name, list(images[np.flatnonzero(labels == label)[:EXAMPLES]]))
        for label, name in enumerate(dataset.class_names)
    ]


def _without_equal(pairs: Pairs, images: NDArray[np.uint8]) -> Pairs:
    differ = np.array(
        [not np.array_equal(images[a], images[b]) for a, b in zip(pairs.first, pairs.second, strict=True)], bool
    )
    return pairs.where(differ)


def _counted(examples: Sequence[Any]) -> dict[str, Any]:
    return {"count": len(examples), "examples": list(examples[:EXAMPLES])}
