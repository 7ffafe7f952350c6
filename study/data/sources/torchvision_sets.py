"""CIFAR-100, MNIST, Fashion-MNIST and SVHN, by torchvision's own classes: their downloads, checksums and cache."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from study.data.dataset import DataOptions, Dataset, Report, SealedTest, Split, image_spec
from study.errors import DataError


@dataclass(frozen=True)
class Known:
    """How torchvision has a data set.

    Attributes:
        class_name: in torchvision.datasets.
        train, test: its arguments for either half.
        labels: the attribute that has them.
        channels_last: whether its images are [N, H, W] or [N, H, W, C], and not [N, C, H, W].
        allows_flip: whether an image mirrored left to right still shows its class.
    """

    class_name: str
    train: dict[str, Any]
    test: dict[str, Any]
    labels: str = "targets"
    channels_last: bool = True
    allows_flip: bool = True


HALVES: tuple[dict[str, Any], dict[str, Any]] = ({"train": True}, {"train": False})
KNOWN = {
    "cifar100": Known("CIFAR100", *HALVES),
    "fashion-mnist": Known("FashionMNIST", *HALVES),
    "mnist": Known("MNIST", *HALVES, allows_flip=False),
    "svhn": Known("SVHN", {"split": "train"}, {"split": "test"}, "labels", channels_last=False, allows_flip=False),
}


def load(name: str, options: DataOptions, report: Report) -> Dataset:
    """The data set `name` in KNOWN, downloaded into the data directory if it is not there.

    Raises:
        DataError: it cannot be downloaded, or a file does not have its checksum.
    """
    known = KNOWN[name]
    report(f"{name}: from {options.data_dir}, or downloaded by torchvision")
    training = _read(name, options, known.train)
    sealed = SealedTest(partial(_read, name, options, known.test))
    names = _class_names(name, options)
    spec = image_spec(training, len(names))
    return Dataset(name, names, training, sealed, spec, options, allows_flip=known.allows_flip)


def _read(name: str, options: DataOptions, half: dict[str, Any]) -> Split:
    known, found = KNOWN[name], _open(name, options, half)
    images = np.asarray(found.data)
    if not known.channels_last:
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 3:
        images = images[..., None]
    return Split(np.ascontiguousarray(images), np.asarray(getattr(found, known.labels), np.int64))


def _class_names(name: str, options: DataOptions) -> tuple[str, ...]:
    classes = getattr(_open(name, options, KNOWN[name].train), "classes", None)
    # SVHN's classes are the digits, MNIST's are "0 - zero" and so on.
    return tuple(map(str, range(10))) if classes is None else tuple(map(str, classes))


def _open(name: str, options: DataOptions, half: dict[str, Any]) -> Any:
    from torchvision import datasets

    make: Callable[..., Any] = getattr(datasets, KNOWN[name].class_name)
    if options.cache_dir != options.data_dir:
        # What a read-only directory has is read there; torchvision raises RuntimeError where it has nothing.
        with suppress(RuntimeError):
            return make(options.data_dir, download=False, **half)
    try:
        return make(options.cache_dir, download=True, **half)
    except Exception as error:
        # torchvision raises RuntimeError, URLError, OSError, and what its readers of damaged files raise.
        raise DataError(
            f"{name} can neither be read from {options.data_dir} nor downloaded: {' '.join(str(error).split())}"
        ) from None
