"""Encoded images with labels, in whichever layout they were found, to a Dataset: splits, checks, decoding, the seal."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from study.data import test_set
from study.data.dataset import DataOptions, Dataset, Report, draw, image_spec
from study.data.sources.decode import Decoded, Sources, decode, load_images, shown
from study.decoding import FileSource, Target
from study.errors import DataError

TRAIN, VALIDATION, TEST_PART = "train", "validation", "test"
# How users and libraries call the three.
PARTS = {
    "train": TRAIN, "training": TRAIN, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION,
    "test": TEST_PART, "testing": TEST_PART,
}  # fmt: skip
EXAMPLES = 10


class Files(list[FileSource]):
    """Image files in order."""

    def fingerprint(self) -> str:
        digest = sha256()
        for file in self:
            digest.update(f"{file.path!s}\0{file.size}\0{file.modified}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """What a layout was found to hold, before any image is decoded.

    Attributes:
        select: the sources of the chosen images, bool [N], in order.
        labels: int64 [N].
        parts: str [N], each TRAIN, VALIDATION or TEST_PART; without any TEST_PART, a test set is drawn.
        class_names: by label.
        groups: int64 [N] or None.
        notes: one line for each thing that was left out.
    """

    select: Callable[[NDArray[np.bool_]], Sources]
    labels: NDArray[np.int64]
    parts: NDArray[np.str_]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()


def make_dataset(name: str, found: LabelledImages, options: DataOptions, report: Report) -> Dataset:
    """Draws a test set where there is none, checks classes and groups, decodes, and seals the test set.

    Raises:
        DataError: too few classes or images, a class or a group in the wrong splits, or files that cannot be read.
    """
    parts, notes = found.parts, list(found.notes)
    if not (parts == TEST_PART).any():
        parts, note = _with_test_set(found, options)
        notes.append(note)
    _check_classes(found, parts)
    _check_groups(found, parts)
    in_test = parts == TEST_PART
    training_sources = found.select(~in_test)
    training = decode(training_sources, options)
    target = Target(*training.shape[1:])
    sealed, test = test_set.seal(found.select(in_test), found.labels[in_test], target, options)
    notes += _unreadable(training, test, options)
    notes += _treated(training, test)
    for line in notes:
        report(line)
    kept = np.flatnonzero(~in_test)[training.kept]
    split = load_images(training, found.labels[~in_test])
    validation = parts[kept] == VALIDATION
    return Dataset(
        name,
        found.class_names,
        split,
        sealed,
        image_spec(split, len(found.class_names)),
        options,
        validation=validation if validation.any() else None,
        groups=None if found.groups is None else found.groups[kept],
        names=[source.name for source, readable in zip(training_sources, training.kept, strict=True) if readable],
        notes=tuple(notes),
    )


def class_order(names: Iterable[str]) -> list[str]:
    """Distinct class names in the order of their labels: by number if all are integers, otherwise by spelling."""
    distinct = set(names)
    if all(name.isascii() and name.isdigit() for name in distinct):
        return sorted(distinct, key=lambda name: (int(name), name))
    return sorted(distinct)


def class_name(name: str) -> str:
    """One spelling for a name that file systems keep in several: Unicode's NFC."""
    return unicodedata.normalize("NFC", name)


def some(names: Sequence[str]) -> str:
    """The first ten, and how many more there are."""
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(shown(name) for name in names[:EXAMPLES]) + more


def _with_test_set(found: LabelledImages, options: DataOptions) -> tuple[NDArray[np.str_], str]:
    """Sets test images aside from the training images; those for validation stay as they are."""
    parts = found.parts.copy()
    training = np.flatnonzero(parts == TRAIN)
    groups = None if found.groups is None else found.groups[training]
    drawn = training[draw(found.labels[training], options.test_share, options.split_seed, groups)]
    parts[drawn] = TEST_PART
    return parts, (
        f"no test images are given: {len(drawn)} of {len(training)} are set aside and sealed "
        f"(test_share {options.test_share:g}, split_seed {options.split_seed})"
    )


def _check_classes(found: LabelledImages, parts: NDArray[np.str_]) -> None:
    counts = {
        part: np.bincount(found.labels[parts == part], minlength=len(found.class_names))
        for part in (TRAIN, VALIDATION, TEST_PART)
    }
    names = found.class_names
    if len(names) < 2:
        raise DataError(f"there is one class only, {shown(names[0])}; a classifier needs two or more")
    for part in (VALIDATION, TEST_PART):
        strange = [
            name for name, train, own in zip(names, counts[TRAIN], counts[part], strict=True) if own and not train
        ]
        if strange:
            raise DataError(f"{part} images of a class that has no training images: {some(strange)}")
    empty = [name for name, train in zip(names, counts[TRAIN], strict=True) if not train]
    if empty:
        raise DataError(f"a class without training images: {some(empty)}; add images, or remove the class")


def _check_groups(found: LabelledImages, parts: NDArray[np.str_]) -> None:
    if found.groups is None:
        return
    for group in np.unique(found.groups):
        own = np.unique(parts[found.groups == group])
        if len(own) > 1:
            raise DataError(f"a group is in two splits, {own[0]} and {own[1]}; put all of its images into one")


def _unreadable(training: Decoded, test: Decoded, options: DataOptions) -> Iterator[str]:
    unreadable = [f"{name} ({reason})" for name, reason in (*training.unreadable, *test.unreadable)]
    if not unreadable:
        return
    files = f"{len(unreadable)} {'file' if len(unreadable) == 1 else 'files'}"
    if not options.skip_unreadable:
        raise DataError(f"{files} cannot be read: {some(unreadable)}; fix them, or give --skip-unreadable")
    yield f"{files} that cannot be read left out: {some(unreadable)}"


def _treated(training: Decoded, test: Decoded) -> Iterator[str]:
    for treatment in sorted({*training.treatments, *test.treatments}):
        names = training.treatments.get(treatment, []) + test.treatments.get(treatment, [])
        yield f"{len(names)} {'image' if len(names) == 1 else 'images'} {treatment}: {some(names)}"
    found = [size for decoded in (training, test) for size in decoded.sizes]
    height, width = training.shape[1:3]
    if set(found) != {(height, width)}:
        heights, widths = zip(*found, strict=True)
        yield (
            f"images are {min(heights)} to {max(heights)} pixels high and {min(widths)} to {max(widths)} wide; "
            f"they are scaled, and cropped where need be, to {height} x {width}"
        )
