"""Memory of a process that reads and trains on more decoded images than its memory may hold:

    python -m benchmarks.large_data
    systemd-run --user --scope -p MemoryMax=1500M -p MemorySwapMax=0 python -m benchmarks.large_data

Photographs as JPEG in Parquet shards are decoded to --gigabytes of uint8, split, and trained on. After each step it
says the process's own memory (RssAnon of /proc/self/status) and the pages of files that it shares (RssFile), which the
system takes back when others need them. Under a cap that is smaller than the images it ends, or is killed.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_sample_image

from study import data
from study.data import DataOptions
from study.recipe import BASELINE
from study.training.loop import Training

SIDE, SHARD = 64, 5_000  # pixels, and images a file


def write(folder: Path, images: int) -> None:
    """Shards of different crops of two photographs; the class is the photograph. A tenth is for testing."""
    photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(0)
    for shard in range(-(-images // SHARD)):
        count, rows = min(SHARD, images - shard * SHARD), []
        for number in range(count):
            left, top = int(random.integers(0, 560)), int(random.integers(0, 340))
            encoded = io.BytesIO()
            photographs[number % 2].crop((left, top, left + SIDE, top + SIDE)).save(encoded, "JPEG")
            rows.append({"bytes": encoded.getvalue(), "path": None})
        part = "test" if shard % 10 == 9 else "train"
        pq.write_table(
            pa.table({"image": rows, "label": [n % 2 for n in range(count)]}), folder / f"{part}-{shard}.parquet"
        )


def say(step: str, began: float) -> None:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    held = {line[0].rstrip(":"): int(line[1]) / 1e6 for line in lines if line[0].startswith("Rss")}
    print(
        f"{step}: {time.perf_counter() - began:.0f} s, own memory {held['RssAnon']:.2f} GB, "
        f"pages of files {held['RssFile']:.2f} GB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of a process that trains on a large data set.")
    parser.add_argument("--gigabytes", type=float, default=3.0, help="of decoded training and test images")
    parser.add_argument("--scratch", type=Path, help="where the files go; twice --gigabytes are needed")
    arguments = parser.parse_args()
    images = round(arguments.gigabytes * 1e9 / (SIDE * SIDE * 3))
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder = Path(name) / "shards"
        folder.mkdir()
        began = time.perf_counter()
        write(folder, images)
        say(f"{images:,} JPEGs written", began)
        began = time.perf_counter()
        dataset = data.load(str(folder), DataOptions(Path(name) / "data", image_size=SIDE))
        say(f"decoded, {dataset.training.images.nbytes / 1e9:.2f} GB for training", began)
        began = time.perf_counter()
        train, validation = dataset.split()
        say("split", began)
        began = time.perf_counter()
        recipe = BASELINE.with_fields({"epochs": 1, "batch_size": 512})
        (epoch,) = Training(recipe, train, validation, spec=dataset.spec)
        say(f"trained for one epoch, validation accuracy {epoch.metrics['val_accuracy']:.2f}", began)


if __name__ == "__main__":
    main()
