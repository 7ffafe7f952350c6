"""A synthetic stand-in for CIFAR-10 that needs no download: 2,000 training and 500 test images of ten smooth patterns.

Each image is a shifted and noisy blend of its class's pattern with another one. It is there for tests and for trying
the suite; what is found on it says nothing about real images.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from study.data.dataset import CIFAR10, DataOptions, Dataset, Report, SealedTest
from study.data.sources import records
from study.data.sources.records import RecordFile

# Any fixed number would do. It feeds RandomState, whose streams are frozen for good (NumPy's NEP 19).
SEED = 10
CLASS_NAMES = tuple(f"class {label}" for label in range(10))
TRAINING = RecordFile("synthetic-train.bin", 2_000, ("c39afc54004f042d1fe929ee6ecd3495",))
TEST = RecordFile("synthetic-test.bin", 500, ("7b045ac586ab67b2d15aeda05b037405",))


def load(options: DataOptions, report: Report) -> Dataset:
    """The stand-in, made at the first use. Like CIFAR-10 in all, it is normalised with CIFAR-10's mean and std.

    Raises:
        DataError: the data directory holds something else, cannot be used, or holds a damaged file.
    """
    folder = records.folder_of(options, (TRAINING, TEST))
    records.ensure(folder, (TRAINING, TEST), lambda scratch: _make())
    training = records.read(folder, TRAINING)
    sealed_test = SealedTest(partial(records.read, folder, TEST))
    return Dataset("synthetic", CLASS_NAMES, training, sealed_test, CIFAR10, options)


def _make() -> list[bytes]:
    """The batches of both files. Integers only, so that every machine makes the same bytes."""
    random = np.random.RandomState(SEED)

    def integers(low: int, high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        # The default type, and with it the stream, differs by platform.
        return random.randint(low, high, shape, dtype=np.int64)

    patterns = integers(0, 256, (len(CLASS_NAMES), 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    for axis in (1, 2):
        patterns = np.sum([np.roll(patterns, shift, axis) for shift in range(-2, 3)], axis=0) // 5
    batches = []
    for part in (TRAINING, TEST):
        labels = random.permutation(np.arange(part.batch) % len(CLASS_NAMES))
        own = integers(45, 101, (part.batch, 1, 1, 1))
        images = (own * patterns[labels] + (100 - own) * patterns[integers(0, len(CLASS_NAMES), (part.batch,))]) // 100
        rows, columns = (np.arange(records.SIDE) + integers(-4, 5, (2, part.batch, 1))) % records.SIDE
        images = images[np.arange(part.batch)[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = (images + integers(-60, 61, images.shape)).clip(0, 255).astype(np.uint8)
        batches.append(records.batch_of(labels, images.transpose(0, 3, 1, 2).reshape(part.batch, -1)))
    return batches
