"""Parquet in Hugging Face's image layout: shards, class names from the metadata, and what can be wrong."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_layouts import png, write_shard

from study import data
from study.data import DataOptions, Dataset, Split
from study.data.sources import huggingface
from study.errors import DataError

NAMES = ("tench", "goldfish", "shark")


def made(count: int, first: int = 0) -> Split:
    images = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    return Split(images, np.arange(count, dtype=np.int64) % 3)


def load(path: Path) -> Dataset:
    return data.load(str(path), DataOptions(path.parent / "data"), lambda line: None)


def test_one_file_alone_has_a_test_set_set_aside_and_its_metadatas_class_names(tmp_path: Path) -> None:
    write_shard(tmp_path / "fish.parquet", made(30), NAMES)
    dataset = load(tmp_path / "fish.parquet")
    assert dataset.class_names == NAMES
    assert np.bincount(dataset.training.labels).tolist() == [8, 8, 8]
    assert dataset.names[0] == f"fish.parquet row {dataset.training.images[0, 0, 0, 0]}"


def test_shards_are_read_a_few_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "ROWS", 7)
    (tmp_path / "fish" / "data").mkdir(parents=True)
    for number in range(2):
        write_shard(tmp_path / "fish" / "data" / f"train-0000{number}-of-00002.parquet", made(30, 30 * number), NAMES)
    write_shard(tmp_path / "fish" / "data" / "validation-0.parquet", made(6, 60), NAMES)
    write_shard(tmp_path / "fish" / "data" / "test-0.parquet", made(6, 70), NAMES)
    dataset = load(tmp_path / "fish")
    train, validation = dataset.split()
    assert train.images[:, 0, 0, 0].tolist() == list(range(60))
    assert validation.images[:, 0, 0, 0].tolist() == list(range(60, 66))


def test_labels_that_are_text_are_classes_by_name(tmp_path: Path) -> None:
    images = [{"bytes": png(image), "path": "x.png"} for image in made(20).images]
    pq.write_table(pa.table({"image": images, "label": ["b", "a"] * 10}), tmp_path / "fish.parquet")
    assert load(tmp_path / "fish.parquet").class_names == ("a", "b")


def test_a_row_without_bytes_is_unreadable_and_named(tmp_path: Path) -> None:
    images = [{"bytes": png(image), "path": "x.png"} for image in made(20).images]
    images[3] = {"bytes": None, "path": "elsewhere.png"}  # type: ignore[dict-item]
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 10}), tmp_path / "fish.parquet")
    with pytest.raises(DataError, match=r"fish.parquet row 3 \(the row has no image bytes\)"):
        load(tmp_path / "fish.parquet")


def test_a_label_that_the_metadata_does_not_name_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "fish.parquet", made(30), NAMES[:2])
    with pytest.raises(DataError, match="has labels that its metadata, with 2 classes, does not name"):
        load(tmp_path / "fish.parquet")


def test_shards_that_do_not_say_their_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "fish").mkdir()
    for name in ("one", "two"):
        write_shard(tmp_path / "fish" / f"{name}.parquet", made(3), NAMES)
    with pytest.raises(DataError, match=r"one.parquet does not say its split; names such as train-0.parquet"):
        load(tmp_path / "fish")


def test_a_truncated_shard_is_one_line(tmp_path: Path) -> None:
    write_shard(tmp_path / "fish.parquet", made(30), NAMES)
    content = (tmp_path / "fish.parquet").read_bytes()
    (tmp_path / "fish.parquet").write_bytes(content[:-50])
    with pytest.raises(DataError, match=r"fish.parquet is no Parquet file, or a truncated one"):
        load(tmp_path / "fish.parquet")
