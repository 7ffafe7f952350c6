"""What is trained on: `Dataset`, its `Split`s, and the few numbers about images that a network needs, `ImageSpec`."""

import hashlib
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.errors import DataError
from study.storage.files import scratch_folder

# Any fixed number would do. It feeds RandomState, whose streams are frozen for good (NumPy's NEP 19).
SPLIT_SEED = 10
CHUNK = 1 << 12  # images; memory-mapped ones are read so many at a time

# Takes one line each time there is something to say while data are prepared.
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, H, W, C] (channels last, as a batch is gathered; may be memory-mapped), labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def read_at_random(self) -> None:
        """Says that from now on images are read in random order. Only a mapped file makes use of it."""


@dataclass(frozen=True, eq=False)
class MappedSplit(Split):
    """A Split whose images are a memory-mapped file, uint8, one after another.

    It is pickled as the file's path, so that any number of processes share the file's pages instead of a copy each; a
    process on another machine must see the file under the same path.
    """

    file: Path

    @classmethod
    def open(cls, file: Path, shape: tuple[int, ...], labels: NDArray[np.int64]) -> "MappedSplit":
        """Raises DataError where the file is missing or too short."""
        try:
            # Copy on write: torch warns of arrays that are read-only, and nobody writes.
            return cls(np.memmap(file, np.uint8, mode="c", shape=shape), labels, file)
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be mapped: {error}") from None

    def read_at_random(self) -> None:
        # Where the file does not fit into memory, the system reads far beyond each image otherwise, a hundred times as
        # much as is used.
        if hasattr(mmap, "MADV_RANDOM") and isinstance(self.images.base, mmap.mmap):
            self.images.base.madvise(mmap.MADV_RANDOM)

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedSplit.open, (self.file, self.images.shape, self.labels)


@dataclass(frozen=True)
class ImageSpec:
    """Everything about a data set that a network, its normalisation and its augmentation depend on.

    Attributes:
        height, width: pixels.
        channels: 1 (grey) or 3 (RGB).
        num_classes: at least 2.
        mean, std: one value a channel, of the training images' pixels in [0, 1]; normalization "dataset".
    """

    height: int
    width: int
    channels: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


# Krizhevsky's CIFAR-10; mean and std as published with his cuda-convnet recipes and rounded the same way since.
CIFAR10 = ImageSpec(32, 32, 3, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


@dataclass(frozen=True)
class DataOptions:
    """How a data set is read.

    Attributes:
        data_dir: where downloads, decoded images and the ledger of test set openings are kept; it may be read-only,
            see `cache_dir`.
        image_size: height and width in pixels that images are resized to; None keeps their own size where all are
            equal and small, see `study.data.sources.decode`.
        skip_unreadable: leave out the files that cannot be read, instead of refusing the data set.
        validation_share: of each class's training images, unless the data set has validation images of its own.
        test_share: of each class's images, where the data set has no test images of its own.
        split_seed: draws both.
    """

    data_dir: Path = Path("data")
    image_size: int | None = None
    skip_unreadable: bool = False
    validation_share: float = 0.1
    test_share: float = 0.2
    split_seed: int = SPLIT_SEED

    @property
    def cache_dir(self) -> Path:
        """Where all that is made is written: the data directory, or for one that is read-only a folder in ~/.cache."""
        effective = os.access in os.supports_effective_ids
        if not self.data_dir.is_dir() or os.access(self.data_dir, os.W_OK, effective_ids=effective):
            return self.data_dir
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        own = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:16]
        return caches / "hyperparameter-study" / own

    def __post_init__(self) -> None:
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; allowed: more than 0 and less than 1")
        if self.image_size is not None and not 1 <= self.image_size <= 1024:
            raise DataError(f"image_size is {self.image_size}; allowed: None, or 1 to 1024")
        if not 0 <= self.split_seed < 2**32:
            raise DataError(f"split_seed is {self.split_seed}; allowed: 0 to {2**32 - 1}")


@dataclass(frozen=True)
class Fold:
    """One part of a K-fold cross-validation: `number`, from 1, of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True, eq=False)
class SealedTest:
    """The test set before it is opened. Holds a way to read it, which only `study.data.test_set` uses.

    Attributes:
        read: returns the test images and labels; raises DataError where they are missing, truncated or altered.
        names: of the test images, such as file paths; empty: they are known by their number.
    """

    read: Callable[[], Split]
    names: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels: those for training and validation, and the sealed test set.

    Attributes:
        name: as in --dataset.
        class_names: by label.
        training: all images but the test set's, in their given order.
        sealed_test: opened by `study.data.test_set` only.
        spec: size, channels, class count, and mean and std of the training images.
        options: what it was read with.
        allows_flip: whether an image mirrored left to right still shows its class.
        validation: bool [N], the training images that the data set itself gives for validation; None: they are drawn.
        groups: int64 [N], what must not straddle two splits, such as a patient; None: each image is on its own.
        names: of the training images, such as file paths; empty: they are known by their number.
        notes: one line for each thing that was left out or treated in a special way.
    """

    name: str
    class_names: tuple[str, ...]
    training: Split
    sealed_test: SealedTest
    spec: ImageSpec
    options: DataOptions = DataOptions()
    allows_flip: bool = True
    validation: NDArray[np.bool_] | None = None
    groups: NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    notes: tuple[str, ...] = ()

    def split(self) -> tuple[Split, Split]:
        """Train and validation, both in the given order: always the same images for the same options.

        By default nine tenths and one tenth of each class: of CIFAR-10's 50,000 training images, 45,000 and 5,000.
        """
        held_out = self.validation
        if held_out is None:
            share, seed = self.options.validation_share, self.options.split_seed
            held_out = draw(self.training.labels, share, seed, self.groups)
        return select(self.training, ~held_out), select(self.training, held_out)

    def with_split_seed(self, seed: int) -> "Dataset":
        """The same images with other ones held out for validation, and the same test set.

        Where the data set has validation images of its own (`validation`), the split stays as it is.
        """
        return replace(self, options=replace(self.options, split_seed=seed))

    def split_fold(self, fold: Fold) -> tuple[Split, Split]:
        """Train and validation of one fold of a cross-validation over all training images.

        Images that a data set itself names for validation take part like all others, as they do in the final.

        Raises:
            DataError: a class has fewer images, or fewer groups, than there are folds.
        """
        own = draw_folds(self.training.labels, fold.count, self.options.split_seed, self.groups) == fold.number
        return select(self.training, ~own), select(self.training, own)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the training images in their order ("digest") and of the two splits ("split_digest")."""
        return {"digest": digest(self.training), "split_digest": digest(*self.split())}


def image_spec(training: Split, num_classes: int) -> ImageSpec:
    """Size, channels, mean and std of `training`; mean and std are rounded to four places, as CIFAR-10's always are."""
    _, height, width, channels = training.images.shape
    values = np.arange(256)
    counts = np.zeros((channels, 256), np.int64)  # whole numbers, so that the result does not depend on the order
    for start in range(0, len(training.images), CHUNK):
        chunk = training.images[start : start + CHUNK].reshape(-1, channels)
        counts += [np.bincount(chunk[:, channel], minlength=256) for channel in range(channels)]
    pixels = counts.sum(1)
    mean = (counts * values).sum(1) / pixels / 255
    std = np.sqrt((counts * (values / 255 - mean[:, None]) ** 2).sum(1) / pixels)
    return ImageSpec(height, width, channels, num_classes, _rounded(mean), _rounded(std))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def draw(
    labels: NDArray[np.int64], share: float, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Which images to hold out: `share` of each class, rounded down, but one at least of a class of two or more.

    Args:
        groups: int64 [N]; a group is held out as a whole or not at all, so that the shares are met approximately.

    Returns:
        bool [N].
    """
    random = np.random.RandomState(seed)
    if groups is not None:
        return _draw_groups(labels, share, random, groups)
    order = random.permutation(len(labels))
    held_out = np.zeros(len(order), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        # 0.29 * 100 is a little less than 29.
        count = int(len(members) * share + 1e-9)
        held_out[members[: max(count, min(1, len(members) - 1))]] = True
    return held_out


def _draw_groups(
    labels: NDArray[np.int64], share: float, random: np.random.RandomState, groups: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Goes through the groups in random order; one is held out if that brings the classes' counts closer to `share`."""
    _, classes = np.unique(labels, return_inverse=True)
    names, own = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise DataError("all images belong to one group, so that no split can keep it together; give more groups")
    counts = np.zeros((len(names), classes.max() + 1))
    np.add.at(counts, (own, classes), 1)
    missing = counts.sum(0) * share
    chosen = np.zeros(len(names), bool)
    for group in random.permutation(len(names)):
        scale = counts.sum(0)
        if (((missing - counts[group]) / scale) ** 2).sum() < ((missing / scale) ** 2).sum():
            missing = missing - counts[group]
            chosen[group] = True
    if not chosen.any():
        chosen[counts.sum(1).argmin()] = True
    return chosen[own]


def draw_folds(
    labels: NDArray[np.int64], count: int, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The fold, from 1 to `count`, in which each image is held out; each class is spread evenly over the folds.

    Args:
        groups: int64 [N]; all images of a group are in one fold.

    Returns:
        int64 [N].

    Raises:
        DataError: a class has fewer images, or fewer groups, than there are folds.
    """
    units = np.arange(len(labels)) if groups is None else groups
    of_class = np.unique(np.stack([labels, units]), axis=1)[0]
    fewest = int(np.unique(of_class, return_counts=True)[1].min())
    if fewest < count:
        what = "images" if groups is None else "groups of images"
        raise DataError(f"folds is {count}; allowed: at most {fewest}, as one class has no more training {what}")
    # Not at the top: each worker imports this module, and scikit-learn takes a quarter of its start.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    make = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = np.empty(len(labels), np.int64)
    for number, (_, held_out) in enumerate(
        make(count, shuffle=True, random_state=seed).split(labels, labels, groups), 1
    ):
        folds[held_out] = number
    return folds


def select(split: Split, chosen: NDArray[np.bool_]) -> Split:
    """The chosen images, bool [N], in their order; of mapped ones in a file of their own beside theirs."""
    if isinstance(split, MappedSplit):
        return _select_mapped(split, chosen)
    return Split(split.images[chosen], split.labels[chosen])


def _select_mapped(split: MappedSplit, chosen: NDArray[np.bool_]) -> MappedSplit:
    shape = (int(chosen.sum()), *split.images.shape[1:])
    file = split.file.with_name(f"{split.file.name}-{hashlib.sha256(chosen.tobytes()).hexdigest()[:16]}")
    try:
        if not file.exists():
            # Not /tmp, which may be another disk, and a name of its own, as another process may do the same.
            with scratch_folder(file.parent) as scratch:
                with (scratch / file.name).open("wb") as opened:
                    for start in range(0, len(chosen), CHUNK):
                        opened.write(split.images[start : start + CHUNK][chosen[start : start + CHUNK]].data)
                os.replace(scratch / file.name, file)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror}") from None
    return MappedSplit.open(file, shape, split.labels[chosen])


def digest(*splits: Split) -> str:
    """SHA-256, in hex, over the splits in turn: each one's images, then its labels (little-endian)."""
    sha256 = hashlib.sha256()
    for each in splits:
        for start in range(0, len(each.images), CHUNK):
            sha256.update(np.ascontiguousarray(each.images[start : start + CHUNK]).data)
        sha256.update(each.labels.astype("<i8").data)
    return sha256.hexdigest()


def what_changed(recorded: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Compares two `digests()`: None where they agree, otherwise what differs, in words."""
    if found["digest"] != recorded["digest"]:
        return "the training images, their labels or their order"
    if found["split_digest"] != recorded["split_digest"]:
        return "the split into training and validation images"
    return None
