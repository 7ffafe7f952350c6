"""Images with labels: CIFAR-10, other well-known data sets, and your own.

    dataset = data.load("cifar10", DataOptions(), print)
    train, validation = dataset.split()

To add a data set, write a module with `load(options, report) -> Dataset` and add it to DATASETS.
"""

from collections.abc import Callable

from study.data import cifar10, digits, synthetic
from study.data.dataset import CIFAR10, DataOptions, Dataset, ImageSpec, Report, Split
from study.errors import DataError

__all__ = ["CIFAR10", "DATASETS", "DataOptions", "Dataset", "ImageSpec", "Report", "Split", "load"]

DATASETS: dict[str, Callable[[DataOptions, Report], Dataset]] = {
    "cifar10": cifar10.load,
    "digits": digits.load,
    "synthetic": synthetic.load,
}


def load(spec: str, options: DataOptions | None = None, report: Report = print) -> Dataset:
    """The data set `spec`: a name in DATASETS.

    Args:
        options: as DataOptions() by default.
        report: takes one line each time there is something to say.

    Raises:
        DataError: there is no such data set, or it cannot be used.
    """
    options = options or DataOptions()
    if spec in DATASETS:
        return DATASETS[spec](options, report)
    raise DataError(f"--dataset is {spec}; allowed: {', '.join(sorted(DATASETS))}")
