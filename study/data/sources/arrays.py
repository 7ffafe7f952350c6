"""Images that are arrays already: from Python, or an .npz in Keras' or MedMNIST's layout.

Keras: x_train, y_train, x_test, y_test. MedMNIST: train_images, train_labels, val_images, val_labels, test_images,
test_labels. Images are uint8 [N, H, W] or [N, H, W, C] with 1 or 3 channels, labels integers [N] or [N, 1] from 0.
"""

import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from study.data.dataset import DataOptions, Dataset, Report, SealedTest, Split, draw, image_spec, select
from study.data.sources.decode import shown
from study.data.sources.labelled import some
from study.errors import DataError

KERAS = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}
MEDMNIST = {
    "train": ("train_images", "train_labels"),
    "validation": ("val_images", "val_labels"),
    "test": ("test_images", "test_labels"),
}


def load(path: Path, options: DataOptions, report: Report) -> Dataset:
    """Raises DataError where the file is damaged, has another layout, or images or labels of another kind."""
    names = _names(path)
    layouts = [layout for layout in (KERAS, MEDMNIST) if set(layout["train"]) <= names]
    if not layouts:
        raise DataError(
            f"{shown(str(path))} has neither x_train, y_train nor train_images, train_labels: {some(sorted(names))}"
        )
    layout = layouts[0]
    given = {part: columns for part, columns in layout.items() if set(columns) <= names}
    train = _read(path, *given["train"])
    validation = _read(path, *given["validation"]) if "validation" in given else None
    test = SealedTest(partial(_read, path, *given["test"])) if "test" in given else None
    dataset = _dataset(str(path), train, validation, test, options)
    for note in dataset.notes:
        report(note)
    return dataset


def from_arrays(
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
    options: DataOptions | None = None,
) -> Dataset:
    """A Dataset of arrays.

    Args:
        train, test, validation: images uint8 [N, H, W] or [N, H, W, C], and integer labels [N] or [N, 1]. Without
            test images a test set is set aside and sealed; without validation images they are drawn.
        class_names: by label; their numbers, if not given.

    Raises:
        DataError: the arrays are of another kind, or do not fit each other.
    """
    return _dataset(
        name,
        _split("training", *train),
        None if validation is None else _split("validation", *validation),
        None if test is None else SealedTest(partial(_split, "test", *test)),
        options or DataOptions(),
        class_names,
    )


def _dataset(
    name: str,
    train: Split,
    validation: Split | None,
    sealed: SealedTest | None,
    options: DataOptions,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    notes: list[str] = []
    if sealed is None:
        drawn = draw(train.labels, options.test_share, options.split_seed)
        test = select(train, drawn)
        sealed, train = SealedTest(partial(Split, test.images, test.labels)), select(train, ~drawn)
        notes.append(
            f"no test images are given: {len(test.labels)} of {len(drawn)} are set aside and sealed "
            f"(test_share {options.test_share:g}, split_seed {options.split_seed})"
        )
    held_out = None
    if validation is not None:
        if validation.images.shape[1:] != train.images.shape[1:]:
            shapes = f"{validation.images.shape[1:]}, not {train.images.shape[1:]}"
            raise DataError(f"{name}: the validation images are {shapes} like the training images")
        held_out = np.arange(len(train.labels) + len(validation.labels)) >= len(train.labels)
        train = Split(
            np.concatenate([train.images, validation.images]), np.concatenate([train.labels, validation.labels])
        )
    count = int(train.labels.max()) + 1
    names = tuple(class_names or map(str, range(count)))
    if len(names) < count or len(names) < 2:
        raise DataError(f"{name}: {len(names)} class names; the labels go from 0 to {count - 1}, and two are the least")
    missing = [names[label] for label in np.flatnonzero(np.bincount(train.labels, minlength=len(names)) == 0)]
    if missing:
        raise DataError(f"{name}: a class without training images: {some(missing)}")
    spec = image_spec(train, len(names))
    return Dataset(name, names, train, sealed, spec, options, validation=held_out, notes=tuple(notes))


def _split(what: str, images: ArrayLike, labels: ArrayLike) -> Split:
    """Checked: images uint8 [N, H, W, C], labels int64 [N]."""
    pixels, classes = np.asarray(images), np.asarray(labels)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        hint = "; put the channels last" if pixels.ndim == 4 and pixels.shape[1] in (1, 3) else ""
        raise DataError(f"{what} images are {list(pixels.shape)}; allowed: [N, H, W] or [N, H, W, 1 or 3]{hint}")
    if pixels.dtype != np.uint8:
        raise DataError(f"{what} images are {pixels.dtype}; allowed: uint8, from 0 to 255")
    if classes.ndim == 2 and classes.shape[1] == 1:
        classes = classes[:, 0]
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        shape = list(classes.shape)
        raise DataError(
            f"{what} labels are {classes.dtype} {shape}; allowed: integers [N] or [N, 1], one class an image"
        )
    if len(pixels) != len(classes) or not len(pixels):
        raise DataError(f"there are {len(pixels)} {what} images and {len(classes)} labels")
    if classes.min() < 0:
        raise DataError(f"a {what} label is {classes.min()}; labels count from 0")
    return Split(pixels, classes.astype(np.int64))


def _names(path: Path) -> set[str]:
    try:
        with path.open("rb") as opened, np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            return set(file.files)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise _unusable(path, error) from None


def _read(path: Path, images: str, labels: str) -> Split:
    try:
        with path.open("rb") as opened, np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            pixels, classes = file[images], file[labels]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _unusable(path, error) from None
    return _split(f"{shown(str(path))}: {images.partition('_')[0]}", pixels, classes)


def _unusable(path: Path, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{shown(str(path))} cannot be read: {error.strerror}")
    if "allow_pickle" in str(error):
        return DataError(f"{shown(str(path))} has pickled objects, which are never loaded; save plain arrays")
    return DataError(f"{shown(str(path))} is no .npz file, or a damaged one")
