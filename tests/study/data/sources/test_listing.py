"""Listings of image files: their columns, groups that stay together, and what can be wrong with a row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from study import data
from study.data import DataOptions, Dataset, test_set
from study.data.test_set import Opening
from study.errors import DataError

OPENING = Opening("run", "winner", 0, "recipe")


def write(folder: Path, rows: dict[str, list[str]], name: str = "images.csv") -> Path:
    """A listing of grey images, each as bright as its row's number."""
    table = pd.DataFrame(rows)
    for number in range(len(table)):
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    table.insert(0, "path", [f"{number}.png" for number in range(len(table))])
    listing = folder / name
    table.to_parquet(listing) if name.endswith("parquet") else table.to_csv(listing, index=False)
    return listing


def load(listing: Path, **options: object) -> Dataset:
    # mypy cannot know that the options fit.
    return data.load(str(listing), DataOptions(listing.parent / "data", **options), lambda line: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["images.csv", "images.parquet"])
def test_rows_keep_their_order_and_split(tmp_path: Path, name: str) -> None:
    rows = {"label": ["b", "a", "b", "a", "a", "b"], "split": ["train", "train", "val", "test", "Training", "test"]}
    dataset = load(write(tmp_path, rows, name))
    assert dataset.class_names == ("a", "b")
    assert dataset.training.images[:, 0, 0, 0].tolist() == [0, 1, 2, 4]
    assert dataset.training.labels.tolist() == [1, 0, 1, 0]
    assert dataset.validation is not None
    assert dataset.validation.tolist() == [False, False, True, False]
    assert test_set.open_test_set(dataset, [OPENING]).images[:, 0, 0, 0].tolist() == [3, 5]


def test_no_group_is_in_two_splits_and_the_shares_are_about_right(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    patients = random.integers(0, 40, 240)
    rows = {"label": random.choice(["ill", "well"], 240).tolist(), "group": [f"patient {one}" for one in patients]}
    dataset = load(write(tmp_path, rows), validation_share=0.25)
    train, validation = dataset.split()
    test = test_set.open_test_set(dataset, [OPENING])
    groups = [set(patients[split.images[:, 0, 0, 0]]) for split in (train, validation, test)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert len(test.labels) == pytest.approx(0.2 * 240, rel=0.2)
    assert len(validation.labels) == pytest.approx(0.25 * 0.8 * 240, rel=0.2)


def test_a_group_that_the_listing_itself_puts_into_two_splits_is_refused(tmp_path: Path) -> None:
    rows = {"label": ["a", "b", "a", "b"], "split": ["train", "train", "test", "test"], "group": ["1", "2", "2", "3"]}
    with pytest.raises(DataError, match="a group is in two splits, test and train; put all of its images into one"):
        load(write(tmp_path, rows))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"class": ["a", "b"]}, "has no column label; its columns are path, class"),
        ({"label": ["a", ""]}, "has no label in 1 rows, first in row 3"),
        ({"label": ["a", "b"], "split": ["train", "dev"]}, "has the split dev; allowed: train, validation, test"),
        ({"label": []}, "has no rows"),
        ({"label": ["a", "b"], "group": ["1", "1"]}, "all images belong to one group"),
    ],
)
def test_what_is_wrong_with_a_listing_is_one_line(tmp_path: Path, rows: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        load(write(tmp_path, rows))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'path,label\n"unclosed,a\n'])
@pytest.mark.parametrize("name", ["images.csv", "images.parquet"])
def test_a_damaged_listing_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        load(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_file_that_the_listing_names_and_that_is_not_there_is_named(tmp_path: Path) -> None:
    listing = write(tmp_path, {"label": ["a", "b", "a", "b"], "split": ["train", "train", "test", "test"]})
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match=r"1 file cannot be read: 1\.png \(no such file\)"):
        load(listing)
