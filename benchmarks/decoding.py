"""How fast image files become arrays, against Pillow alone in one thread:

    python -m benchmarks.decoding

Photographs are scaled copies of scikit-learn's two sample images, saved as JPEG and PNG. Pillow's own share is opening,
decoding, converting to RGB and scaling with ImageOps.fit, file by file; the suite does the same and more (digests,
orientation, transparency, the cache on disk) with all processors: processes for the many small images, threads for the
large ones, one thread for the few small ones.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.live import Live
from rich.table import Table
from sklearn.datasets import load_sample_image

from study.data import DataOptions
from study.data.sources.decode import decode
from study.data.sources.labelled import Files
from study.decoding import SCALING, FileSource

SIZE = 64
DIFFERENT = 1_000  # images; more are copies in files of their own


def write(folder: Path, count: int, side: int, suffix: str) -> Files:
    """`count` images of side x side pixels; enlarged where the photographs are smaller."""
    photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(0)
    files = Files()
    for number in range(count):
        path = folder / f"{number:06d}.{suffix}"
        if number < DIFFERENT:
            left, top = random.integers(0, 200, 2).tolist()
            photographs[number % 2].crop((left, top, left + 400, top + 220)).resize((side, side)).save(path)
        else:
            shutil.copyfile(files[number - DIFFERENT].path, path)
        files.append(FileSource.of(path, path.name))
    return files


def alone(files: Files) -> None:
    for file in files:
        with Image.open(file.path) as image:
            np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), SCALING))


def main() -> None:
    parser = argparse.ArgumentParser(description="Decoding speed against Pillow alone.")
    parser.add_argument("--images", type=int, default=600, help="of 500 pixels; of 32, ten and a hundred times as many")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("images", "Pillow, images/s", "suite, images/s", "ratio", "again, ms", title=f"{os.cpu_count()} CPUs")
    images = arguments.images
    # Live, so that Ctrl-C leaves the rows that are finished.
    with Live(table, auto_refresh=False) as live:
        for side, count in ((32, 10 * images), (32, 100 * images), (500, images)):
            for suffix in ("jpg", "png"):
                with tempfile.TemporaryDirectory() as name:
                    files = write(Path(name), count, side, suffix)
                    of_pillow, of_suite, again = [], [], []
                    for repeat in range(arguments.repeats):
                        options = DataOptions(Path(name) / f"data{repeat}", image_size=SIZE)
                        for seconds, work in (
                            (of_pillow, lambda files=files: alone(files)),
                            (of_suite, lambda files=files, options=options: decode(files, options)),
                            (again, lambda files=files, options=options: decode(files, options)),
                        ):
                            began = time.perf_counter()
                            work()
                            seconds.append(time.perf_counter() - began)
                pillow, suite = count / min(of_pillow), count / min(of_suite)
                row = [
                    f"{count:,} of {side} x {side} {suffix}",
                    f"{pillow:,.0f}",
                    f"{suite:,.0f}",
                    f"{suite / pillow:.2f}",
                ]
                table.add_row(*row, f"{1000 * min(again):.0f}")
                live.refresh()


if __name__ == "__main__":
    main()
