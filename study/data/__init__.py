"""Images with labels: CIFAR-10, other well-known data sets, and your own.

    dataset = data.load("cifar10", DataOptions(), print)
    train, validation = dataset.split()

`python -m study.data NAME_OR_PATH` describes a data set and looks for what is wrong with it. To add one, write a module
with `load(options, report) -> Dataset` and add it to DATASETS.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from search_spaces.loading import LoadError, load_object
from study.data import test_set
from study.data.dataset import CIFAR10, DataOptions, Dataset, ImageSpec, Report, Split, image_spec
from study.data.sources import (
    arrays,
    cifar10,
    decode,
    digits,
    folder,
    huggingface,
    listing,
    synthetic,
    torchvision_sets,
)
from study.data.sources.arrays import from_arrays
from study.errors import DataError

__all__ = ["CIFAR10", "DATASETS", "DataOptions", "Dataset", "ImageSpec", "Report", "Split", "from_arrays", "load"]

DATASETS: dict[str, Callable[[DataOptions, Report], Dataset]] = {
    "cifar10": cifar10.load,
    "cifar100": partial(torchvision_sets.load, "cifar100"),
    "digits": digits.load,
    "fashion-mnist": partial(torchvision_sets.load, "fashion-mnist"),
    "mnist": partial(torchvision_sets.load, "mnist"),
    "svhn": partial(torchvision_sets.load, "svhn"),
    "synthetic": synthetic.load,
}
ALLOWED = (
    f"{', '.join(DATASETS)}, a folder of images, a listing (.csv, .parquet), Hugging Face's Parquet, an .npz file, "
    "or file.py:function"
)


def load(spec: str | Dataset, options: DataOptions | None = None, report: Report = print) -> Dataset:
    """The data set that a user names.

    Args:
        spec: a name in DATASETS; a path to a folder, a listing, Parquet or an .npz; file.py:function, which returns a
            Dataset; or a Dataset.
        options: as DataOptions() by default.
        report: takes one line each time there is something to say.

    Raises:
        DataError: there is no such data set, or it cannot be used.
    """
    options = options or DataOptions()
    if options.cache_dir != options.data_dir:
        report(f"{options.data_dir} is read-only: what is made is kept in {options.cache_dir}")
    if isinstance(spec, Dataset):
        dataset = replace(spec, options=options)
    elif spec in DATASETS:
        dataset = DATASETS[spec](options, report)
    elif ":" in spec and not Path(spec).exists():
        dataset = _from_function(spec, options)
    else:
        dataset = _from_path(Path(spec), options, report)
    return _in_size(dataset)


def _from_path(path: Path, options: DataOptions, report: Report) -> Dataset:
    if path.is_dir():
        is_parquet = any(path.glob("*.parquet")) or any(path.glob("*/*.parquet"))
        load_folder = huggingface.load if is_parquet else folder.load
        return load_folder(path, options, report)
    if not path.exists():
        raise DataError(f"data set {path} is neither a name nor a path that exists; allowed: {ALLOWED}")
    match path.suffix.lower():
        case ".npz":
            return arrays.load(path, options, report)
        case ".csv":
            return listing.load(path, options, report)
        case ".parquet" if huggingface.is_layout(path):
            return huggingface.load(path, options, report)
        case ".parquet":
            return listing.load(path, options, report)
        case _:
            raise DataError(f"data set {path} is a file of an unknown kind; allowed: {ALLOWED}")


def _from_function(reference: str, options: DataOptions) -> Dataset:
    try:
        dataset = load_object(reference, "data set")()
    except (LoadError, DataError) as error:
        raise DataError(str(error)) from error
    except Exception as error:
        raise DataError(f"data set {reference!r}: {type(error).__name__}: {error}") from error
    if not isinstance(dataset, Dataset):
        raise DataError(f"data set {reference!r} returned {type(dataset).__name__}; a study.data.Dataset is wanted")
    own: Dataset = replace(dataset, options=options)
    return own


def _in_size(dataset: Dataset) -> Dataset:
    """Scales what was arrays from the beginning to the size that is wanted; files are decoded in that size."""
    size = dataset.options.image_size
    if size is None or (dataset.spec.height, dataset.spec.width) == (size, size):
        return dataset
    training = decode.resized(dataset.training, size)
    return replace(
        dataset,
        training=training,
        sealed_test=test_set.seal_resized(dataset.sealed_test, size),
        spec=image_spec(training, dataset.spec.num_classes),
    )
