"""The sealed test set: the one module that reads test images.

Only the final phase and `study.predict --test` open it. Each opening is written to a ledger in the data directory
before any image is returned, so that everybody can count how often a data set's test images have been used, over all
runs.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.data import checks, contact_sheet, near_duplicates
from study.data.checks import TestFindings
from study.data.dataset import DataOptions, Dataset, SealedTest, Split, digest
from study.data.near_duplicates import Pairs
from study.data.sources.decode import Decoded, Sources, decode, load_images, resized
from study.decoding import Target
from study.errors import DataError
from study.recipe import Recipe

LEDGER = "test-openings.jsonl"


@dataclass(frozen=True)
class Opening:
    """What the test set is opened for: one network's predictions.

    Attributes:
        run: the run's directory or name.
        role: what was trained, such as winner or baseline.
        seed: of the training.
        recipe: its digest, SHA-256 in hex.
    """

    run: str
    role: str
    seed: int
    recipe: str

    @classmethod
    def of(cls, run_dir: Path, role: str, recipe: Recipe) -> "Opening":
        fields = json.dumps(recipe.as_dict(), sort_keys=True).encode()
        return cls(str(run_dir.resolve()), role, recipe.seed, hashlib.sha256(fields).hexdigest())


def check(dataset: Dataset) -> None:
    """Verifies, before anything expensive, that the test set can be read and its ledger written. Returns no image.

    Raises:
        DataError: the test images are missing, truncated or altered, or the ledger cannot be written.
    """
    _append(dataset.options.cache_dir / LEDGER, [])
    _read_images(dataset)


def open_test_set(dataset: Dataset, openings: Sequence[Opening]) -> Split:
    """All test images and labels, after each opening that is new has been added to the ledger.

    An opening that is in the ledger already is the same one: its evaluation was cut off, or its result is read again.

    Raises:
        DataError: the test images are missing, truncated or altered, or the ledger cannot be read or written.
        ValueError: no opening is given.
    """
    if not openings:
        raise ValueError("the test set is opened for something; give at least one Opening")
    test = _read_images(dataset)
    key = digest(test)
    ledger = dataset.options.cache_dir / LEDGER
    known = {
        tuple(line[name] for name in asdict(openings[0])) for line in _read_ledger(ledger) if line["test_digest"] == key
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    head = {"time": now, "dataset": dataset.name, "test_digest": key}
    _append(ledger, [{**head, **asdict(each)} for each in openings if tuple(asdict(each).values()) not in known])
    return test


def seal(
    sources: Sources, labels: NDArray[np.int64], target: Target, options: DataOptions
) -> tuple[SealedTest, Decoded]:
    """Decodes the test images into the cache, so that damaged files are found at once; none leaves this function.

    Args:
        labels: int64, one a source.
        target: size and channels of the training images.
    """
    decoded = decode(sources, options, target)
    names = [source.name for source, kept in zip(sources, decoded.kept, strict=True) if kept]
    return SealedTest(partial(load_images, decoded, labels), names), decoded


def seal_resized(sealed: SealedTest, size: int) -> SealedTest:
    """The same test images, scaled to size x size when they are read."""
    return replace(sealed, read=partial(_read_resized, sealed, size))


def _read_resized(sealed: SealedTest, size: int) -> Split:
    return resized(sealed.read(), size)


def count_images(dataset: Dataset) -> int:
    """How many test images there are. Raises DataError where they cannot be read."""
    return len(_read_images(dataset).labels)


def names_of_images(dataset: Dataset) -> Sequence[str]:
    """Of the test images, such as file paths; empty: they are known by their number."""
    return dataset.sealed_test.names


def digest_of_test_images(dataset: Dataset) -> str:
    """SHA-256, in hex, of the test images and their labels.

    Raises:
        DataError: the test images are missing, truncated or altered.
    """
    return digest(_read_images(dataset))


def inspect(dataset: Dataset, *, near: bool = True) -> TestFindings:
    """Compares the test images with the training images, for `study.data` and the report.

    This is no opening: no network sees the images, and what is returned, counts and indices, chooses nothing. Labels
    are used to count, and nowhere else.

    Args:
        near: look for test images that are nearly in training, too; else only for equal ones.

    Raises:
        DataError: the test images are missing, truncated or altered.
    """
    test, training = _read_images(dataset), dataset.training
    known = {fingerprint: index for index, fingerprint in enumerate(checks.fingerprints(training.images))}
    equal = [
        (index, known[fingerprint])
        for index, fingerprint in enumerate(checks.fingerprints(test.images))
        if fingerprint in known
    ]
    first, second = np.array(equal, np.int64).reshape(-1, 2).T
    return TestFindings(
        checks.class_counts(test, dataset),
        checks.constant_images(test.images),
        near_duplicates.between(test.images, training.images)
        if near
        else Pairs(first, second, np.ones(len(first), np.float32)),
        len(first),
        int((test.labels[first] != training.labels[second]).sum()),
    )


def write_picture(findings: checks.Findings, path: Path) -> None:
    """A contact sheet of test images, left, beside the training images that they are equal to, or nearly.

    Raises:
        DataError: it cannot be written.
    """
    dataset, leaks = findings.dataset, findings.test.leaks
    test = _read_images(dataset)
    shown = zip(findings.leaks_in_words(), leaks.first, leaks.second, strict=True)
    contact_sheet.write(
        path,
        [
            (" = ".join(names), [test.images[a], dataset.training.images[b]])
            for names, a, b in islice(shown, checks.ROWS)
        ],
    )


def count_openings(dataset: Dataset) -> int:
    """How many evaluations on these test images the ledger has, over all runs.

    Raises:
        DataError: the test images or the ledger cannot be read.
    """
    key = digest(_read_images(dataset))
    return sum(line["test_digest"] == key for line in _read_ledger(dataset.options.cache_dir / LEDGER))


def count_runs(dataset: Dataset) -> int:
    """How many runs have evaluated networks on these test images, by the ledger.

    The replicates of a run count with it: nothing is chosen among them.

    Raises:
        DataError: the test images or the ledger cannot be read.
    """
    key = digest(_read_images(dataset))
    lines = _read_ledger(dataset.options.cache_dir / LEDGER)
    return len({re.sub(r"/replicates/\d+$", "", str(line["run"])) for line in lines if line["test_digest"] == key})


def _read_images(dataset: Dataset) -> Split:
    """The test images, which must be like the training images and of their classes."""
    test, spec = dataset.sealed_test.read(), dataset.spec
    if test.images.shape[1:] != (spec.height, spec.width, spec.channels):
        found = " x ".join(map(str, test.images.shape[1:]))
        raise DataError(
            f"{dataset.name}: the test images are {found}, the training images "
            f"{spec.height} x {spec.width} x {spec.channels}"
        )
    if not len(test.labels) or test.labels.max() >= spec.num_classes:
        raise DataError(f"{dataset.name}: there are no test images, or one has a label that no training image has")
    return test


def _read_ledger(ledger: Path) -> list[dict[str, str | int]]:
    try:
        lines = ledger.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{ledger} cannot be read: {error.strerror}") from None
    except ValueError:
        raise DataError(f"{ledger} is damaged; it is JSON, one opening of the test set a line") from None


def _append(ledger: Path, lines: Sequence[dict[str, str | int]]) -> None:
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        # One write, so that lines of several processes do not mix.
        file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if lines:
                os.write(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
                os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(f"{ledger} cannot be written: {error.strerror}; give a writable --data-dir") from None
