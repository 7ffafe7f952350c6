"""torchvision's data sets, from files that are there already; no download is tried."""

import hashlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from scipy.io import savemat

from study import data
from study.data import DataOptions, test_set
from study.data.test_set import Opening
from study.errors import DataError

OPENING = Opening("run", "winner", 0, "recipe")


def write_idx(path: Path, array: np.ndarray) -> None:
    """As MNIST's files are: magic number, the lengths, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(struct.pack(">HBB", 0, 8, array.ndim) + lengths + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_training_and_test_images_come_from_their_own_files(tmp_path: Path, name: str, folder: str) -> None:
    for part, count in (("train", 40), ("t10k", 20)):
        images = np.full((count, 28, 28), count)
        write_idx(tmp_path / folder / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(tmp_path / folder / "raw" / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    dataset = data.load(name, DataOptions(tmp_path), lambda line: None)
    assert dataset.training.images.shape == (40, 28, 28, 1)
    assert dataset.training.images.max() == 40
    assert dataset.allows_flip == (name == "fashion-mnist")
    assert len(dataset.class_names) == 10
    test = test_set.open_test_set(dataset, [OPENING])
    assert test.images.min() == 20
    assert test.labels.tolist() == [*range(10), *range(10)]


def test_svhn_is_read_from_its_own_files_and_its_classes_are_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_list = {}
    for part, count in (("train", 40), ("test", 20)):
        file = tmp_path / f"{part}_32x32.mat"
        images = np.zeros((32, 32, 3, count), np.uint8)
        images[4, 5, 2] = np.arange(count)  # row 4, column 5, blue
        # In the file a zero is a ten.
        savemat(file, {"X": images, "y": (np.arange(count) % 10 + 1)[:, None]})
        split_list[part] = ["unused", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split_list)
    dataset = data.load("svhn", DataOptions(tmp_path), lambda line: None)
    assert dataset.training.images.shape == (40, 32, 32, 3)
    assert dataset.training.images[:, 4, 5, 2].tolist() == list(range(40))
    assert dataset.training.labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert dataset.class_names == tuple("0123456789")
    assert not dataset.allows_flip
    assert len(test_set.open_test_set(dataset, [OPENING]).labels) == 20


def test_cifar100_is_read_from_its_own_files_with_the_class_names_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = [f"kind {number:02d}" for number in range(100)]
    for part, count in (("train", 200), ("test", 100)):
        images = np.zeros((count, 3, 32, 32), np.uint8)
        images[:, 2, 4, 5] = np.arange(count)  # blue, row 4, column 5
        content = {"data": images.reshape(count, -1), "fine_labels": [each % 100 for each in range(count)]}
        (folder / part).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    md5s = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in ("train", "test", "meta")}
    own = torchvision.datasets.CIFAR100
    monkeypatch.setattr(own, "train_list", [["train", md5s["train"]]])
    monkeypatch.setattr(own, "test_list", [["test", md5s["test"]]])
    monkeypatch.setattr(own, "meta", {**own.meta, "md5": md5s["meta"]})
    dataset = data.load("cifar100", DataOptions(tmp_path), lambda line: None)
    assert dataset.training.images.shape == (200, 32, 32, 3)
    assert dataset.training.images[:, 4, 5, 2].tolist() == list(range(200))
    assert dataset.class_names == tuple(names)
    assert dataset.allows_flip
    assert test_set.open_test_set(dataset, [OPENING]).labels.tolist() == list(range(100))


def test_a_read_only_directory_is_read_and_nothing_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    for part in ("train", "t10k"):
        write_idx(shared / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", np.zeros((20, 28, 28)))
        write_idx(shared / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", np.arange(20) % 10)
    before = sorted(shared.rglob("*"))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, *mode, **how: Path(path) != shared and access(path, *mode))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines: list[str] = []
    dataset = data.load("mnist", DataOptions(shared), lines.append)
    test_set.open_test_set(dataset, [OPENING])
    assert sorted(shared.rglob("*")) == before
    assert lines[0] == f"{shared} is read-only: what is made is kept in {dataset.options.cache_dir}"
    assert (dataset.options.cache_dir / test_set.LEDGER).is_file()
    assert dataset.options.cache_dir.is_relative_to(tmp_path / "cache")


@pytest.mark.parametrize("name", ["cifar100", "svhn"])
def test_what_can_neither_be_read_nor_downloaded_is_one_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise OSError("no route\nto host")

    module = getattr(torchvision.datasets, "cifar" if name == "cifar100" else name)
    function = "download_and_extract_archive" if name == "cifar100" else "download_url"
    monkeypatch.setattr(module, function, unreachable)
    with pytest.raises(DataError, match=f"{name} can neither be read from .* nor downloaded: no route to host"):
        data.load(name, DataOptions(tmp_path), lambda line: None)
