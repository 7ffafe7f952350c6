"""Trials an hour against Ray Tune's own CIFAR-10 example, which ships inside Ray.

    python -m benchmarks.tutorial --images 10000 --epochs 4
    python -m benchmarks.tutorial

The same ten configs, drawn once as the example draws them; the same network, split (9 in 10 of the training images),
epochs and ASHA settings (grace period 1, reduction factor 2). The example's functions are Ray's own; only its loader is
pointed at the images that are here, through torchvision's dataset class, and it gets the split. It runs as shipped,
with 8 loader workers, and again with none and with 2; all arms in turn, --repeats times.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import ray
import torch
import torchvision
from ray import tune
from ray.tune.examples import cifar10_pytorch as example
from ray.tune.schedulers import ASHAScheduler
from rich.console import Console
from rich.table import Table

import results
from study import data
from study.config import StudyConfig
from study.data import DataOptions, Dataset, Split
from study.execution.cluster import start_ray
from study.pipeline.console import Output
from study.pipeline.phases.search import Search
from study.pipeline.prepare_run import Request, start_run
from study.pipeline.run_context import RunContext, run_phases
from study.recipe import BASELINE
from study.search.problem import SearchProblem
from study.search.schedulers import rungs

CONFIGS_SEED, CONFIGS = 0, 10


def drawn() -> list[dict[str, Any]]:
    """Ten configs from the example's own space."""
    random = np.random.default_rng(CONFIGS_SEED)
    return [
        {
            "l1": int(2 ** random.integers(2, 9)),
            "l2": int(2 ** random.integers(2, 9)),
            "lr": float(10 ** random.uniform(-4, -1)),
            "batch_size": int(random.choice([2, 4, 8, 16])),
        }
        for _ in range(CONFIGS)
    ]


class LocalCIFAR10(torchvision.datasets.CIFAR10):
    """torchvision's dataset, image by image through PIL, on arrays that are here already."""

    def __init__(self, split: Split) -> None:
        self.data, self.targets = split.images, split.labels.tolist()
        self.target_transform = None
        self.transform = torchvision.transforms.Compose(
            [
                torchvision.transforms.ToTensor(),
                torchvision.transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
            ]
        )


def train_example(config: dict[str, Any], train: Split, validation: Split, workers: int) -> None:
    """The example's training function with these images and so many loader workers."""
    loader = torch.utils.data.DataLoader

    def with_workers(*arguments: Any, **options: Any) -> Any:
        return loader(*arguments, **{**options, "num_workers": workers})

    torch.utils.data.DataLoader = with_workers  # type: ignore[assignment, misc]
    try:
        example.load_data = lambda folder: (LocalCIFAR10(train), None)  # type: ignore[no-untyped-def]
        example.random_split = lambda whole, sizes: (LocalCIFAR10(train), LocalCIFAR10(validation))
        example.train_cifar({**config["of"], "smoke_test": False})
    finally:
        torch.utils.data.DataLoader = loader  # type: ignore[misc]


def run_example(dataset: Dataset, epochs: int, workers: int) -> tuple[float, float, int]:
    """Seconds, the best trial's validation accuracy and the epochs that all trials had."""
    train, validation = dataset.split()
    trainable = tune.with_parameters(train_example, train=train, validation=validation, workers=workers)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 2, "gpu": 0}),
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                num_samples=1,
                scheduler=ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=2),
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
            param_space={"of": tune.grid_search(drawn())},
        )
        began = time.perf_counter()
        found = tuner.fit()
        seconds = time.perf_counter() - began
        if found.num_errors:
            raise RuntimeError(f"{found.num_errors} trials of the example failed: {found.errors[0]}")
        frame = pd.DataFrame([each.metrics for each in found])
    return seconds, float(frame["accuracy"].max()), int(frame["training_iteration"].sum())


def run_suite(dataset: Dataset, epochs: int, data_dir: Path) -> tuple[float, float, int]:
    """The same of this suite, one thread a trial."""
    configs = [
        {"hidden": f"{one['l1']}-{one['l2']}", "lr": one["lr"], "batch_size": one["batch_size"]} for one in drawn()
    ]
    base = BASELINE.with_fields({"channels": "6-16", "kernel": 5, "normalization": "cifar10", **configs[0]})
    problem = SearchProblem(lambda trial: configs[trial.number % CONFIGS], "the example's ten", base, epochs, seed=0)
    asked = {"samples": CONFIGS, "max_epochs": epochs, "grace_period": 1, "reduction_factor": 2}
    config = StudyConfig(dataset=dataset, data_dir=data_dir, gpus_per_trial=0, **asked)
    content = {**asked, "kind": "search", "baseline": base.as_dict(), "rungs": rungs(epochs, 1, 2), "warm_start": None}
    output = Output(Console(quiet=True), quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        request = Request("benchmarks.tutorial", config, config, [], content, output, problem)
        context: RunContext[StudyConfig] = start_run(Path(folder) / "suite", request)
        run_phases(context, [Search()], lambda line: None)
        run = results.load_run(context.run_dir)
    seconds = run.study["seconds"]["search"]
    return seconds, float(run.trials["val_accuracy"].max()), int(run.trials["epochs"].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description="Trials an hour against Ray Tune's CIFAR-10 example.")
    parser.add_argument("--images", type=int, default=50_000, help="of the 50,000 training images, the first so many")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--loader-workers", nargs="+", type=int, default=[8, 2, 0], help="of the example, each an arm")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    dataset = data.load("cifar10", DataOptions(arguments.data_dir))
    every = dataset.training
    kept = Split(every.images[: arguments.images], every.labels[: arguments.images])
    dataset = replace(dataset, training=kept)
    start_ray()
    rows = []
    for repeat in range(arguments.repeats):
        arms = {"this suite": partial(run_suite, dataset, arguments.epochs, arguments.data_dir)}
        for workers in arguments.loader_workers:
            arms[f"Ray's example, {workers} loader workers"] = partial(run_example, dataset, arguments.epochs, workers)
        for name, run in arms.items():
            seconds, accuracy, epochs = run()
            rows.append({"arm": name, "seconds": seconds, "accuracy": accuracy, "epochs": epochs})
            print(repeat, name, f"{seconds:.0f} s, {accuracy:.2%}, {epochs} epochs", flush=True)
    ray.shutdown()
    table = pd.DataFrame(rows).groupby("arm", sort=False)
    median, low, high = table.median(), table.min(), table.max()
    suite = median.loc["this suite", "seconds"]
    shown = Table("arm", "trials an hour", "suite faster by", "seconds", "best val. accuracy", "epochs", box=None)
    for arm, row in median.iterrows():
        shown.add_row(
            str(arm), f"{3600 * CONFIGS / row['seconds']:.0f}", f"{row['seconds'] / suite:.1f} x",
            f"{row['seconds']:.0f} ({low.loc[arm, 'seconds']:.0f} to {high.loc[arm, 'seconds']:.0f})",
            f"{row['accuracy']:.2%}", f"{row['epochs']:.0f}",
        )  # fmt: skip
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
