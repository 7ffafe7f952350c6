"""How long the checks of a data set take (duplicates, leaks, conflicting labels), and how long where they are kept:

    python -m benchmarks.image_checks cifar10

What is found is kept in a scratch directory, so the first pass searches for everything. Loading is not counted.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from study import data
from study.data import DataOptions, checks


def main() -> None:
    parser = argparse.ArgumentParser(description="Wall time of the checks of a data set.")
    parser.add_argument("dataset", nargs="?", default="cifar10")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset = data.load(arguments.dataset, DataOptions(arguments.data_dir, arguments.image_size))
    with tempfile.TemporaryDirectory() as scratch:
        dataset = replace(dataset, options=replace(dataset.options, data_dir=Path(scratch)))
        for title in ("searched for", "kept"):
            wall, processor = time.perf_counter(), time.process_time()
            findings = checks.inspect(dataset)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            images = len(dataset.training.labels) + sum(findings.test.counts)
            print(f"{title}: {images:,} images, {wall:.1f} s, {processor:.1f} s of processor time")
    for each in checks.remarks(findings):
        print(f"{each.name}: {each.count:,} {each.sentence}")


if __name__ == "__main__":
    main()
