"""Parquet in Hugging Face's image layout: `image`, a struct of bytes and path, and `label`, an integer or a text.

One file, or a folder of shards such as train-00000-of-00002.parquet, whose names begin with their split. The class
names are those of the file's metadata. Rows keep their order, shards come by name.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.data.dataset import DataOptions, Dataset, Report
from study.data.sources.decode import shown
from study.data.sources.labelled import PARTS, TRAIN, LabelledImages, class_name, class_order, make_dataset, some
from study.decoding import BytesSource
from study.errors import DataError

ROWS = 256  # read from a shard at a time


@dataclass(frozen=True, eq=False)
class ShardSources:
    """The chosen images, bool [N], of the shards' rows, in order."""

    shards: Sequence[Path]
    column: str
    chosen: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def __iter__(self) -> Iterator[BytesSource]:
        row = 0
        for shard in self.shards:
            first = row
            with pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(ROWS, columns=[self.column]):
                    chosen = self.chosen[row : row + len(batch)]
                    for offset in np.flatnonzero(chosen):
                        cell = batch.column(0)[int(offset)].as_py() or {}
                        yield BytesSource(f"{shard.name} row {row - first + offset}", cell.get("bytes"))
                    row += len(batch)

    def fingerprint(self) -> str:
        digest = sha256(np.packbits(self.chosen).tobytes())
        for shard in self.shards:
            found = shard.stat()
            digest.update(f"{shard}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def is_layout(file: Path) -> bool:
    """Whether a Parquet file has a column of images; otherwise it may be a listing.

    Raises:
        DataError: it is no Parquet file.
    """
    return _image_column(_schema(file)) is not None


def load(path: Path, options: DataOptions, report: Report) -> Dataset:
    """Raises DataError where `path` has no such layout, or an image cannot be read."""
    return make_dataset(str(path), find(path), options, report)


def find(path: Path) -> LabelledImages:
    """The labels in the shards; no image is decoded.

    Raises:
        DataError: `path` has no such layout.
    """
    shards = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    schema = _schema(shards[0])
    image, label = _image_column(schema), _label_column(schema)
    if image is None or label is None:
        raise DataError(
            f"{shown(str(shards[0]))} has no {'image' if image is None else 'label'} column; its columns are "
            f"{some(schema.names)}"
        )
    columns = [_labels_of(shard, label) for shard in shards]
    parts = [
        np.full(len(column), _part_of(shard, alone=len(shards) == 1))
        for shard, column in zip(shards, columns, strict=True)
    ]
    labels, names = _numbered(np.concatenate(columns), _class_names(schema, label), shards[0])
    return LabelledImages(
        lambda chosen: ShardSources(shards, image, chosen), labels, np.concatenate(parts), tuple(names)
    )


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except OSError as error:
        raise DataError(f"{shown(str(file))} cannot be read: {error.strerror or error}") from None
    except pa.ArrowInvalid:
        raise DataError(f"{shown(str(file))} is no Parquet file, or a truncated one") from None


def _image_column(schema: pa.Schema) -> str | None:
    """The column named image, or the only one that has images."""
    found = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type) and {"bytes", "path"} <= {part.name for part in field.type}
    ]
    return "image" if "image" in found else found[0] if len(found) == 1 else None


def _label_column(schema: pa.Schema) -> str | None:
    """The column named label, or the only one whose classes have names."""
    if "label" in schema.names:
        return "label"
    found = [name for name in schema.names if _class_names(schema, name) is not None]
    return found[0] if len(found) == 1 else None


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """From the metadata that Hugging Face's datasets library writes; None where there is none."""
    try:
        feature: dict[str, Any] = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        return [str(name) for name in feature["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def _labels_of(shard: Path, label: str) -> NDArray[Any]:
    try:
        column = pq.read_table(shard, columns=[label]).column(label)
    except OSError as error:
        raise DataError(f"{shown(str(shard))} cannot be read: {error.strerror or error}") from None
    except (pa.ArrowInvalid, KeyError):
        raise DataError(f"{shown(str(shard))} is damaged, or has no column {label}") from None
    if column.null_count:
        raise DataError(f"{shown(str(shard))} has {column.null_count} rows without a {label}")
    return np.asarray(column.to_pylist())


def _numbered(found: NDArray[Any], names: list[str] | None, shard: Path) -> tuple[NDArray[np.int64], list[str]]:
    """Labels from 0, and the names by label."""
    if names is None:
        text = [class_name(str(value)) for value in found]
        names = class_order(text)
        label_of = {name: label for label, name in enumerate(names)}
        return np.array([label_of[name] for name in text], np.int64), names
    if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= len(names):
        raise DataError(f"{shown(str(shard))} has labels that its metadata, with {len(names)} classes, does not name")
    return found.astype(np.int64), names


def _part_of(shard: Path, alone: bool) -> str:
    part = PARTS.get(shard.stem.split("-")[0].lower()) or PARTS.get(shard.parent.name.lower())
    if part is None and not alone:
        raise DataError(f"{shown(shard.name)} does not say its split; names such as train-0.parquet, test-0.parquet do")
    return part or TRAIN
