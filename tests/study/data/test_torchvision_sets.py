"""torchvision's data sets, from files that are there already; no download is tried."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision

from study import data
from study.data import DataOptions, test_set
from study.data.test_set import Opening
from study.errors import DataError


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
    test = test_set.open_test_set(dataset, [Opening("run", "winner", 0, "recipe")])
    assert test.images.min() == 20
    assert test.labels.tolist() == [*range(10), *range(10)]


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
