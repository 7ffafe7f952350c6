"""What trials side by side hold in memory: the images once a machine, and the rest once a trial.

    python -m benchmarks.memory

Trials of the baseline train for one epoch, all of them at once, through the real Tuner on pretended CPUs. When each has
met all images they wait for each other. Each then says how much memory it alone has, and how much of the machine's is
shared between processes (/proc/meminfo), of which what was so before Ray's start is taken away.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
import ray
from ray import tune
from rich.console import Console
from rich.table import Table

from results.events import TrialStarted
from study import data
from study.data import CIFAR10, DataOptions, Split
from study.execution import trainable
from study.execution.cluster import start_ray
from study.execution.interruption import Interruption
from study.execution.list_searcher import ListSearcher
from study.execution.recorder import Recorder
from study.execution.resources import Slots
from study.execution.runner import TrialSource, config_of, run_trials
from study.execution.trainable import EPOCH, SECONDS, WorkerSetup
from study.recipe import BASELINE
from study.storage.event_log import EventLog
from study.storage.store import Store
from study.training.loop import Training


def hold(config: dict[str, Any], *, setup: WorkerSetup) -> None:
    """One epoch; then this process's memory in a file, when all trials have come so far."""
    (epoch,) = Training(BASELINE.with_fields({"epochs": 1, "batch_size": 128}), setup.train, setup.validation)
    folder = Path(setup.store.location)
    together = int((folder / "together").read_text())
    (folder / f"{os.getpid()}.trained").touch()
    while len(list(folder.glob("*.trained"))) < together:
        time.sleep(0.1)
    held = {"alone": psutil.Process().memory_full_info().uss, "shared": psutil.virtual_memory().shared}
    (folder / f"{os.getpid()}.json").write_text(json.dumps(held))
    while len(list(folder.glob("*.json"))) < together:
        time.sleep(0.1)
    tune.report({EPOCH: 1, **epoch.metrics, SECONDS: epoch.seconds})


def measure(together: int, train: Split, validation: Split, folder: Path) -> tuple[float, float]:
    """MB: what the machine shares between processes, and what each worker has alone (means)."""
    (folder / "together").write_text(str(together))
    setup = WorkerSetup(
        train=train,
        validation=validation,
        spec=CIFAR10,
        store=Store(str(folder)),
        checkpoint_epochs=(),
        keep_weights=False,
        threads=1,
        gpu=False,
    )
    with EventLog(folder / "epochs.jsonl") as log:
        for number in range(together):
            log.append(TrialStarted(number=number, config={}, seed=0))
        searcher = ListSearcher([config_of(number, {}, 0) for number in range(together)])
        recorder = Recorder(log, setup.store, 1)
        run_trials(
            TrialSource(searcher, None, together), setup, recorder, log, Slots(1, 0, together, ""), Interruption()
        )
    held = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    assert len(held) == together, f"{len(held)} of {together} workers said what they hold"
    return mean(each["shared"] for each in held) / 1e6, mean(each["alone"] for each in held) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="What trials side by side hold in memory.")
    parser.add_argument("--together", nargs="+", type=int, default=[1, 2, 4], help="trials at once")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    train, validation = data.load("cifar10", DataOptions(arguments.data_dir)).split()
    trainable.train = hold
    table = Table("trials at once", "shared, MB a machine", "alone, MB a trial", box=None)
    for together in arguments.together:
        before = psutil.virtual_memory().shared / 1e6
        ray.init(
            address="local", num_cpus=together, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
        start_ray()
        with tempfile.TemporaryDirectory() as folder:
            shared, alone = measure(together, train, validation, Path(folder))
        ray.shutdown()
        table.add_row(str(together), f"{shared - before:.0f}", f"{alone:.0f}")
    images = (train.images.nbytes + validation.images.nbytes) / 1e6
    Console(width=100).print(table, f"The images are {images:.0f} MB.")


if __name__ == "__main__":
    main()
