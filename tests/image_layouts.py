"""Writes images in each layout that study.data reads."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from study.data import Split


def png(image: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image.squeeze()).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def write_folder(root: Path, split: Split, class_names: tuple[str, ...]) -> None:
    """One PNG an image, in the folder of its class, named by its number with leading zeros."""
    for name in class_names:
        (root / name).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        (root / class_names[label] / f"{number:05d}.png").write_bytes(png(image))


def write_listing(listing: Path, parts: dict[str, Split], class_names: tuple[str, ...]) -> None:
    """PNGs in one folder beside the listing."""
    with listing.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for part, split in parts.items():
            (listing.parent / part).mkdir()
            for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
                (listing.parent / part / f"{number}.png").write_bytes(png(image))
                rows.writerow([f"{part}/{number}.png", class_names[label], part])


def write_shard(shard: Path, split: Split, class_names: tuple[str, ...]) -> None:
    """As Hugging Face's datasets library writes it."""
    images = [{"bytes": png(image), "path": None} for image in split.images]
    features = {"image": {"_type": "Image"}, "label": {"names": list(class_names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64())], metadata=metadata)
    pq.write_table(pa.table({"image": images, "label": split.labels}, schema=schema), shard, row_group_size=100)


def write_keras(file: Path, train: Split, test: Split) -> None:
    np.savez(file, x_train=train.images, y_train=train.labels[:, None], x_test=test.images, y_test=test.labels[:, None])
