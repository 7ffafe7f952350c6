"""CIFAR-10 written out as PNG folders, a listing, Parquet and npz is CIFAR-10, bit for bit and in its order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_layouts import write_folder, write_keras, write_listing, write_shard

from study import data
from study.data import CIFAR10, DataOptions, Dataset, Split, test_set
from study.data.sources import cifar10
from study.data.test_set import Opening
from study.recipe import BASELINE
from study.training.loop import Training

OPENING = Opening("run", "winner", 0, "recipe")


def as_folder(root: Path, train: Split, test: Split) -> Path:
    write_folder(root / "train", train, cifar10.CLASS_NAMES)
    write_folder(root / "test", test, cifar10.CLASS_NAMES)
    return root


def as_listing(root: Path, train: Split, test: Split) -> Path:
    write_listing(root / "images.csv", {"train": train, "test": test}, cifar10.CLASS_NAMES)
    return root / "images.csv"


def as_parquet(root: Path, train: Split, test: Split) -> Path:
    for number, rows in enumerate(np.split(np.arange(len(train.labels)), 2)):
        shard = root / f"train-{number:05d}-of-00002.parquet"
        write_shard(shard, Split(train.images[rows], train.labels[rows]), cifar10.CLASS_NAMES)
    write_shard(root / "test-00000-of-00001.parquet", test, cifar10.CLASS_NAMES)
    return root


def as_npz(root: Path, train: Split, test: Split) -> Path:
    write_keras(root / "cifar.npz", train, test)
    return root / "cifar.npz"


@pytest.fixture(scope="module")
def part(cifar10_dir: Path) -> tuple[Split, Split]:
    """Of the real training images, 1,000 for training and 200 for testing."""
    every = data.load("cifar10", DataOptions(cifar10_dir)).training
    return Split(every.images[:1000], every.labels[:1000]), Split(every.images[1000:1200], every.labels[1000:1200])


@pytest.fixture(scope="module")
def built_in(part: tuple[Split, Split]) -> Dataset:
    train, test = part
    return data.from_arrays((train.images, train.labels), (test.images, test.labels), class_names=cifar10.CLASS_NAMES)


@pytest.mark.parametrize("write", [as_folder, as_listing, as_parquet, as_npz])
def test_cifar10_written_out_is_read_back_bit_for_bit_with_the_same_split(
    write: Callable[[Path, Split, Split], Path], part: tuple[Split, Split], built_in: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    options = DataOptions(tmp_path / "data")
    read = data.load(str(write(tmp_path / "images", *part)), options, lambda line: None)
    assert read.digests() == built_in.digests()
    assert read.spec == built_in.spec
    assert read.class_names in (cifar10.CLASS_NAMES, tuple("0123456789"))
    test = test_set.open_test_set(read, [OPENING])
    assert np.array_equal(test.images, part[1].images)
    assert np.array_equal(test.labels, part[1].labels)


def test_a_training_on_the_folder_has_the_same_losses_and_accuracy_to_the_last_bit(
    part: tuple[Split, Split], built_in: Dataset, tmp_path: Path
) -> None:
    read = data.load(str(as_folder(tmp_path / "images", *part)), DataOptions(tmp_path / "data"), lambda line: None)
    recipe = BASELINE.with_fields({"epochs": 1})
    curves = [[epoch.metrics for epoch in Training(recipe, *dataset.split())] for dataset in (read, built_in)]
    assert curves[0] == curves[1]


def test_mean_and_std_of_the_real_training_images_round_to_the_published_ones(cifar10_dir: Path) -> None:
    training = data.load("cifar10", DataOptions(cifar10_dir)).training
    assert data.dataset.image_spec(training, 10) == CIFAR10
