"""Arrays from Python and .npz files: layouts, shapes and types, and that nothing is unpickled."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study import data
from study.data import DataOptions, Dataset, test_set
from study.data.test_set import Opening
from study.errors import DataError

OPENING = Opening("run", "winner", 0, "recipe")


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *(shape or (8, 8))), np.uint8)


def labels(count: int) -> np.ndarray:
    return np.arange(count) % 3


def load(path: Path) -> Dataset:
    return data.load(str(path), DataOptions(path.parent / "data"), lambda line: None)


def test_medmnists_layout_has_its_own_validation_images(tmp_path: Path) -> None:
    arrays = {}
    for part, count in (("train", 30), ("val", 9), ("test", 6)):
        arrays |= {f"{part}_images": images(count), f"{part}_labels": labels(count)[:, None]}
    np.savez(tmp_path / "cells.npz", **arrays)
    dataset = load(tmp_path / "cells.npz")
    train, validation = dataset.split()
    assert (len(train.labels), len(validation.labels)) == (30, 9)
    assert np.array_equal(validation.images[..., 0], arrays["val_images"])
    assert np.array_equal(test_set.open_test_set(dataset, [OPENING]).images[..., 0], arrays["test_images"])


def test_loading_an_npz_does_not_read_its_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", x_train=images(30), y_train=labels(30), x_test=images(6), y_test=labels(6))
    asked: list[str] = []
    original = np.lib.npyio.NpzFile.__getitem__

    def spy(self: Any, name: str) -> Any:
        asked.append(name)
        return original(self, name)

    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", spy)
    dataset = load(tmp_path / "a.npz")
    assert asked == ["x_train", "y_train"]
    assert len(test_set.open_test_set(dataset, [OPENING]).labels) == 6


def test_arrays_from_python_without_test_images_have_some_set_aside() -> None:
    dataset = data.from_arrays((images(30, 8, 8, 3), labels(30)), class_names=["a", "b", "c"])
    assert dataset.class_names == ("a", "b", "c")
    assert len(dataset.training.labels) == 24
    assert (dataset.spec.channels, dataset.spec.num_classes) == (3, 3)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_an_npz_is_unpickled(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "sprung")], object)
    np.savez(tmp_path / "a.npz", x_train=trap, y_train=labels(1), x_test=images(1), y_test=labels(1))
    with pytest.raises(DataError, match="has pickled objects, which are never loaded; save plain arrays"):
        load(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((images(9, 3, 8, 8), labels(9)), r"are \[9, 3, 8, 8\]; allowed: .*; put the channels last"),
        ((images(9, 8, 8, 4), labels(9)), r"are \[9, 8, 8, 4\]; allowed: \[N, H, W\] or \[N, H, W, 1 or 3\]$"),
        ((images(9) / 255, labels(9)), "images are float64; allowed: uint8, from 0 to 255"),
        ((images(9), labels(9) / 1), r"labels are float64 \[9\]; allowed: integers"),
        (
            (images(9), np.eye(9, dtype=int)),
            r"labels are int64 \[9, 9\]; allowed: integers",
        ),
        ((images(9), labels(8)), "there are 9 training images and 8 labels"),
        ((images(9), labels(9) - 1), "a training label is -1; labels count from 0"),
        ((images(9), labels(9) * 2), "a class without training images: 1, 3"),
        ((images(9), labels(9) * 0), "1 class names; the labels go from 0 to 0, and two are the least"),
    ],
)
def test_arrays_of_another_kind_are_one_line(train: tuple[np.ndarray, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.from_arrays(train, train)


def test_test_images_unlike_the_training_images_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    dataset = data.from_arrays(
        (images(30), labels(30)), (images(6, 9, 9), labels(6)), options=DataOptions(tmp_path / "data")
    )
    with pytest.raises(DataError, match="the test images are 9 x 9 x 1, the training images 8 x 8 x 1"):
        test_set.check(dataset)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no archive", b"\x93NUMPY"])
def test_a_damaged_npz_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz (is no \.npz file|has the arrays|has pickled)") as raised:
        load(tmp_path / "a.npz")
    assert "\n" not in str(raised.value)


# Any data set


def test_a_dataset_from_a_function_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from study import data\n"
        "def blobs():\n"
        "    images = np.arange(30, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)\n"
        "    return data.from_arrays((images, np.arange(30) % 2), name='blobs')\n"
        "def broken():\n"
        "    raise RuntimeError('no disk')\n"
        "def wrong():\n"
        "    return 3\n"
    )
    options = DataOptions(tmp_path / "data")
    dataset = data.load(f"{tmp_path / 'mine.py'}:blobs", options)
    assert dataset.name == "blobs"
    assert dataset.options == options
    for name, message in {
        "broken": "RuntimeError: no disk",
        "wrong": "returned int; a study.data.Dataset is wanted",
        "absent": "has no 'absent'",
    }.items():
        with pytest.raises(DataError, match=message):
            data.load(f"{tmp_path / 'mine.py'}:{name}", options)


def test_image_size_scales_training_and_test_images_of_any_data_set(tmp_path: Path) -> None:
    dataset = data.load("digits", DataOptions(tmp_path, image_size=16))
    assert (dataset.spec.height, dataset.spec.width) == (16, 16)
    assert dataset.training.images.shape == (898, 16, 16, 1)
    assert test_set.open_test_set(dataset, [OPENING]).images.shape == (899, 16, 16, 1)


def test_digits_are_scikit_learns_images_and_the_test_half_is_its_examples(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    dataset = data.load("digits", DataOptions(tmp_path))
    test = test_set.open_test_set(dataset, [OPENING])
    assert not dataset.allows_flip
    assert np.array_equal(dataset.training.images[0, :, :, 0], np.rint(load_digits().images[0] * 255 / 16))
    flat = [split.images.reshape(len(split.labels), -1) * (16 / 255) for split in (dataset.training, test)]
    accuracy = SVC(gamma=0.001).fit(flat[0], dataset.training.labels).score(flat[1], test.labels)
    assert accuracy == pytest.approx(0.969, abs=0.0005)  # as scikit-learn's example prints it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_share": 0.0}, "validation_share is 0.0; allowed: more than 0 and less than 1"),
        ({"image_size": 0}, "image_size is 0; allowed: None, or 1 to 1024"),
        ({"split_seed": -1}, "split_seed is -1; allowed: 0 to 4294967295"),
    ],
)
def test_options_out_of_range_name_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DataOptions(**options)
