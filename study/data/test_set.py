"""The sealed test set: the one place that reads its images. Only the final phase and `study.predict --test` call it."""

from pathlib import Path

from study import data
from study.data import Split


def check(data_dir: Path, dataset: data.Dataset) -> None:
    """Compares the test file's checksum before anything expensive; no image leaves this function.

    Raises:
        DataError: the file is missing, truncated or altered.
    """
    open_test_set(data_dir, dataset)


def open_test_set(data_dir: Path, dataset: data.Dataset) -> Split:
    """All test images and labels.

    Raises:
        DataError: the file is missing, truncated or altered.
    """
    return data.read(data_dir, data.TEST[dataset])
