"""CIFAR-10's binary format: files of records, one an image, whose batches have known MD5s.

A record is the label's byte, then 3,072 pixel bytes, channel by channel.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.data.dataset import DataOptions, Split
from study.errors import DataError
from study.storage.files import scratch_folder

# What the suite, or torchvision, keeps in a data directory.
OURS = (
    "cifar10-*.bin", "synthetic-*.bin", "cifar-10*", "data_batch_?", "test_batch", "test-openings.jsonl", "decoded",
    "checks", "pictures", "MNIST", "FashionMNIST", "train_32x32.mat", "test_32x32.mat",
)  # fmt: skip

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # bytes of one image with its label


@dataclass(frozen=True)
class RecordFile:
    """One file of records: batches of equal size, each with its MD5.

    Attributes:
        name: of the file in the data directory.
        batch: images in each batch.
        md5s: of each batch, in hex.
    """

    name: str
    batch: int
    md5s: tuple[str, ...]


def read(data_dir: Path, file: RecordFile) -> Split:
    """One file, checked byte for byte.

    Raises:
        DataError: it cannot be read, or a batch does not have its MD5.
    """
    path = data_dir / file.name
    images = np.empty((len(file.md5s), file.batch, SIDE, SIDE, 3), np.uint8)
    labels = np.empty((len(file.md5s), file.batch), np.int64)
    try:
        with path.open("rb") as opened:
            for number, expected in enumerate(file.md5s):
                content = opened.read(file.batch * RECORD)
                if md5(content) != expected:
                    raise damaged(path)
                records = np.frombuffer(content, np.uint8).reshape(file.batch, RECORD)
                labels[number] = records[:, 0]
                images[number] = records[:, 1:].reshape(file.batch, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
            if opened.read(1):
                raise damaged(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return Split(images.reshape(-1, SIDE, SIDE, 3), labels.reshape(-1))


def ensure(data_dir: Path, files: Sequence[RecordFile], make: Callable[[Path], Iterable[bytes]]) -> None:
    """Makes sure that the files are in `data_dir`, which is created if need be.

    Args:
        make: given a scratch directory, returns the batches of all files in turn; called if a file is missing.

    Raises:
        DataError: the directory holds something else, cannot be used, or holds a damaged file.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(data_dir)
        if are_present(data_dir, files):
            return
        with scratch_folder(data_dir) as scratch:
            write(make(scratch.resolve()), data_dir, files, scratch)
    except FileExistsError:
        raise DataError(f"data directory {data_dir} is a file, not a directory") from None
    except OSError as error:
        raise DataError(f"data directory {data_dir} cannot be used: {error}") from None


def _refuse_foreign(data_dir: Path) -> None:
    """A directory with files, none of which the suite knows, is somebody else's."""
    found = sorted(path.name for path in data_dir.iterdir() if not path.name.startswith("."))
    if found and not any(fnmatch(name, pattern) for name in found for pattern in OURS):
        raise DataError(
            f"data directory {data_dir} holds something else ({', '.join(found[:3])}): "
            "give an empty or new directory, or one with cifar-10-python.tar.gz or cifar-10-batches-py in it"
        )


def folder_of(options: DataOptions, files: Sequence[RecordFile]) -> Path:
    """Where the files are, or are to be made: the data directory, unless it is read-only and does not have them."""
    return options.data_dir if are_present(options.data_dir, files) else options.cache_dir


def are_present(data_dir: Path, files: Sequence[RecordFile]) -> bool:
    """Whether all files are there. Looks at their sizes only, so that a test file stays closed.

    Raises:
        DataError: one has another size.
    """
    present = [file for file in files if (data_dir / file.name).exists()]
    for file in present:
        if (data_dir / file.name).stat().st_size != len(file.md5s) * file.batch * RECORD:
            raise damaged(data_dir / file.name)
    return len(present) == len(files)


def write(batches: Iterable[bytes], data_dir: Path, files: Sequence[RecordFile], scratch: Path) -> None:
    """Writes the batches in turn into the files; each is moved into place when it is complete."""
    remaining = iter(batches)
    for file in files:
        with (scratch / file.name).open("wb") as opened:
            opened.writelines(next(remaining) for _ in file.md5s)
        os.replace(scratch / file.name, data_dir / file.name)


def batch_of(labels: Sequence[int] | NDArray[np.int64], pixels: NDArray[np.uint8]) -> bytes:
    """The records of labels [N] and pixels uint8 [N, 3072], channel by channel."""
    return np.column_stack([np.array(labels, np.uint8), pixels]).tobytes()


def damaged(path: Path) -> DataError:
    return DataError(f"{path} is truncated or altered: replace it, or delete it and start again to have it made anew")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
