"""How many trials should share a machine's cores, or a GPU: aggregate images a second, and peak memory on a GPU.

    python -m benchmarks.packing
    python -m benchmarks.packing --device cuda

On CPUs: as many one-thread trainings at once as there are cores, against one training with all of them as threads. On a
GPU: 1, 2, 4 and 8 trainings at once on it, one process each, and the fraction to give `--gpus-per-trial`: the most
trainings whose throughput is within 2% of the best, so that a search compares as many trials as early as it can. Each
arm in turn, --repeats times; every process trains for --seconds after a warm-up and a common start.
"""

import argparse
import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from study import data
from study.data import DataOptions
from study.recipe import BASELINE
from study.training.loop import Training

RECIPE = BASELINE.with_fields({"channels": "16-32", "padding": "same", "epochs": 10_000})
WARM_UP_STEPS = 20
IMAGES_KEPT = 10_000


class _Enough(Exception):
    """Time is up."""


def train_for(
    seconds: float, batch_size: int, threads: int, device: str, data_dir: Path, start: Barrier, queue: Any
) -> None:
    """One process: trains, and says how many images a second it had and the most memory it took on the GPU (bytes)."""
    torch.set_num_threads(threads)
    train, _ = data.load("cifar10", DataOptions(data_dir)).split()
    kept = data.Split(train.images[:IMAGES_KEPT], train.labels[:IMAGES_KEPT])
    recipe = RECIPE.with_fields({"batch_size": batch_size})
    warm_up, steps, began = 0, 0, 0.0

    def count(training: Training) -> None:
        nonlocal warm_up, steps, began
        steps = (training.epoch - 1) * training.steps + training.step
        if warm_up == 0 and steps >= WARM_UP_STEPS:
            warm_up = steps
            start.wait()
            began = time.perf_counter()
        elif warm_up and time.perf_counter() - began > seconds:
            raise _Enough

    try:
        for _ in Training(recipe, kept, device=device, after_step=count):
            pass
    except _Enough:
        if device == "cuda":
            torch.cuda.synchronize()
        rate = (steps - warm_up) * batch_size / (time.perf_counter() - began)
        queue.put((rate, torch.cuda.max_memory_reserved() if device == "cuda" else 0))


def measure(
    processes: int, threads: int, batch_size: int, device: str, seconds: float, data_dir: Path
) -> tuple[float, float]:
    """Images a second of all processes together, and their peak memory on the GPU, in GB."""
    context = multiprocessing.get_context("spawn")
    start, queue = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=train_for, args=(seconds, batch_size, threads, device, data_dir, start, queue))
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    said = [queue.get(timeout=600) for _ in started]
    for process in started:
        process.join()
    return sum(rate for rate, _ in said), sum(memory for _, memory in said) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput of trials that share cores or a GPU.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 2, 4, 8], help="on a GPU")
    parser.add_argument("--batch-size", type=int, default=32, help="32 is the published recipe's")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    shapes = [(1, cores), (cores, 1)] if arguments.device == "cpu" else [(count, 1) for count in arguments.at_once]
    arms: dict[tuple[int, int], list[tuple[float, float]]] = {shape: [] for shape in shapes}
    for _ in range(arguments.repeats):
        for (processes, threads), found in arms.items():
            found.append(
                measure(
                    processes, threads, arguments.batch_size, arguments.device, arguments.seconds, arguments.data_dir
                )
            )
    table = Table("at once", "threads each", "images/s (range)", "ratio", "GPU memory", box=None)
    rates = {arm: median(rate for rate, _ in found) for arm, found in arms.items()}
    first = next(iter(rates.values()))
    for (processes, threads), found in arms.items():
        rate, each = rates[processes, threads], [rate for rate, _ in found]
        memory = max(used for _, used in found)
        table.add_row(
            str(processes), str(threads), f"{rate:.0f} ({min(each):.0f} to {max(each):.0f})", f"{rate / first:.2f} x",
            f"{memory:.2f} GB" if memory else "",
        )  # fmt: skip
    Console(width=100).print(table)
    if arguments.device == "cuda":
        most = max(processes for (processes, _), rate in rates.items() if rate >= 0.98 * max(rates.values()))
        print(f"--gpus-per-trial {1 / most:g}")


if __name__ == "__main__":
    main()
