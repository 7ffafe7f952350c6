"""Splits and digests of a Dataset; images larger than memory are one file that all processes share."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import data
from study.data import DataOptions
from study.data.dataset import Fold, MappedSplit, draw, draw_folds, what_changed
from study.data.sources import decode
from study.errors import DataError
from study.recipe import BASELINE
from study.training.loop import Training


def test_each_class_gives_its_share_and_one_image_at_least() -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 29, 2, 1])
    held_out = draw(labels, 0.1, seed=0)
    assert np.bincount(labels[held_out], minlength=4).tolist() == [10, 2, 1, 0]
    assert not np.array_equal(held_out, draw(labels, 0.1, seed=1))


def test_groups_stay_together_and_meet_the_share_of_each_class() -> None:
    random = np.random.default_rng(0)
    groups, labels = random.integers(0, 60, 900), random.integers(0, 3, 900)
    held_out = draw(labels, 0.2, 0, groups)
    assert not set(groups[held_out]) & set(groups[~held_out])
    shares = [held_out[labels == label].mean() for label in range(3)]
    assert np.abs(np.array(shares) - 0.2).max() < 0.04


def test_few_groups_still_give_both_sides_an_image() -> None:
    held_out = draw(np.array([0, 1, 0, 1]), 0.1, 0, np.array([0, 0, 1, 1]))
    assert held_out.sum() == 2


def test_folds_hold_out_each_image_once_and_spread_each_class_evenly() -> None:
    labels = np.repeat([0, 1, 2], [100, 53, 5])
    folds = draw_folds(labels, 5, seed=0)
    counts = np.array([np.bincount(labels[folds == number], minlength=3) for number in range(1, 6)])
    assert counts.sum(0).tolist() == [100, 53, 5]
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.array_equal(folds, draw_folds(labels, 5, seed=0))
    assert not np.array_equal(folds, draw_folds(labels, 5, seed=1))


def test_a_group_is_in_one_fold() -> None:
    random = np.random.default_rng(0)
    groups, labels = random.integers(0, 60, 900), random.integers(0, 3, 900)
    folds = draw_folds(labels, 4, 0, groups)
    assert [len(set(folds[groups == group])) for group in range(60)] == [1] * 60
    assert np.bincount(folds)[1:].min() > 900 / 4 * 0.9


@pytest.mark.parametrize(
    ("groups", "what"), [(None, "training images"), (np.arange(20) // 2, "training groups of images")]
)
def test_more_folds_than_a_class_has_images_or_groups_are_refused(groups: np.ndarray | None, what: str) -> None:
    labels = np.repeat([0, 1], [16, 4])
    allowed = 4 if groups is None else 2
    with pytest.raises(DataError, match=f"folds is 5; allowed: at most {allowed}, as one class has no more {what}"):
        draw_folds(labels, 5, 0, groups)


def test_the_folds_of_a_data_set_are_those_of_its_recorded_seed(folder: Path, tmp_path: Path) -> None:
    dataset = data.load(str(folder), DataOptions(tmp_path / "data", split_seed=4), lambda line: None)
    train, validation = dataset.split_fold(Fold(2, 3))
    own = draw_folds(dataset.training.labels, 3, 4) == 2
    assert np.array_equal(validation.images, dataset.training.images[own])
    assert np.array_equal(train.images, dataset.training.images[~own])


def test_what_changed_names_images_or_split() -> None:
    dataset = data.from_arrays((np.arange(200, dtype=np.uint8).reshape(200, 1, 1), np.arange(200) % 2))
    recorded = dataset.digests()
    assert what_changed(recorded, dataset.digests()) is None
    other_split = replace(dataset, options=DataOptions(split_seed=3))
    assert what_changed(recorded, other_split.digests()) == "the split into training and validation images"
    other = replace(dataset, training=replace(dataset.training, images=dataset.training.images + 1))
    assert what_changed(recorded, other.digests()) == "the training images, their labels or their order"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(60):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(path)
    return tmp_path / "images"


def test_mapped_images_have_the_same_digests_and_splits_as_those_in_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = data.load(str(folder), DataOptions(tmp_path / "data"), lambda line: None)
    monkeypatch.setattr(decode, "MAP_ABOVE", 0)
    mapped = data.load(str(folder), DataOptions(tmp_path / "data"), lambda line: None)
    assert isinstance(mapped.training, MappedSplit)
    assert not isinstance(in_memory.training, MappedSplit)
    assert mapped.digests() == in_memory.digests()
    for ours, theirs in zip(mapped.split(), in_memory.split(), strict=True):
        assert isinstance(ours, MappedSplit)
        assert np.array_equal(ours.images, theirs.images)


def test_a_mapped_split_travels_to_another_process_as_the_path_of_its_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "MAP_ABOVE", 0)
    train, _ = data.load(str(folder), DataOptions(tmp_path / "data"), lambda line: None).split()
    assert isinstance(train, MappedSplit)
    sent = pickle.dumps(train)
    assert len(sent) < train.images.nbytes / 2
    received = pickle.loads(sent)
    assert np.array_equal(received.images, train.images)
    assert np.array_equal(received.labels, train.labels)
    train.file.unlink()
    with pytest.raises(DataError, match=r"cannot be mapped: .*No such file"):
        pickle.loads(sent)


def test_reading_all_of_a_mapped_split_takes_no_memory_of_the_process_own(tmp_path: Path) -> None:
    file, shape = tmp_path / "images", (30_000, 32, 32, 3)  # 92 MB
    with file.open("wb") as opened:
        for start in range(0, shape[0], 1000):
            opened.write(np.full((1000, *shape[1:]), start // 1000, np.uint8).data)
    split = MappedSplit.open(file, shape, np.arange(shape[0]) % 10)
    before = anonymous_bytes()
    order = np.random.default_rng(0).permutation(shape[0])
    total = sum(int(split.images[order[start : start + 500]].sum()) for start in range(0, shape[0], 500))
    assert total == sum(range(30)) * 1000 * 3072
    data.dataset.digest(split)
    data.dataset.image_spec(split, 10)
    # A chunk of 4,096 images at a time is 13 MB.
    assert anonymous_bytes() - before < 50e6


def test_of_a_mapped_split_that_is_trained_on_the_system_reads_only_the_images_that_are_used(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(bytes(400 * 3072))
    split = MappedSplit.open(tmp_path / "images", (400, 32, 32, 3), np.arange(400) % 10)
    assert "rr" not in flags_of(tmp_path / "images")
    Training(BASELINE, split)
    assert "rr" in flags_of(tmp_path / "images")  # proc(5): random read advise


def flags_of(file: Path) -> list[str]:
    """VmFlags of the mapping of `file` into this process."""
    of_file = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        of_file = line.endswith(str(file)) or (of_file and ":" in line.split()[0])
        if of_file and line.startswith("VmFlags"):
            return line.split()[1:]
    raise AssertionError(f"{file} is not mapped")


def anonymous_bytes() -> int:
    """Memory of this process that is backed by no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


def test_a_data_set_is_added_with_one_function_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(options: DataOptions, report: data.Report) -> data.Dataset:
        images = np.random.default_rng(0).integers(0, 256, (60, 12, 10, 3), dtype=np.uint8)
        return data.from_arrays((images, np.arange(60) % 3), name="mine", options=options)

    monkeypatch.setitem(data.DATASETS, "mine", load)
    mine = data.load("mine", DataOptions(), lambda line: None)
    assert (mine.spec.height, mine.spec.width, mine.spec.num_classes) == (12, 10, 3)
    train, validation = mine.split()
    assert set(validation.labels) == {0, 1, 2}
    assert len(train.labels) + len(validation.labels) < 60  # the rest is the sealed test set
