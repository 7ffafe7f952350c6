"""What the driver costs a trial, from one slot to eight: real Tuner, searcher and event log; trainables sleep.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --slots 8 --trials 1000

The slots are pretend CPUs of a Ray of its own. Each trial sleeps --seconds in all, reports ten epochs and is not
stopped, so that the wall time without a driver is known. Turnaround is the time from a trial's last epoch to the start
of the next training on the same slot (measured by the trainables); overhead is the slots' time that no trainable slept.
"""

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import psutil
import ray
from ray import tune
from rich.console import Console
from rich.table import Table

from search_spaces import SPACES
from study.data import CIFAR10, Split
from study.execution import trainable
from study.execution.cluster import start_ray
from study.execution.interruption import Interruption
from study.execution.ray_scheduler import RayScheduler
from study.execution.recorder import Recorder
from study.execution.resources import Slots
from study.execution.runner import TrialSource, run_trials
from study.execution.trainable import EPOCH, SECONDS, WorkerSetup
from study.execution.trial_searcher import TrialSearcher
from study.recipe import BASELINE
from study.search.optuna_study import OptunaDatabase, OptunaStudy
from study.search.problem import SearchProblem
from study.search.schedulers import NoScheduler, SchedulerSettings
from study.storage.event_log import EventLog
from study.storage.store import Store

EPOCHS = 10


def sleep(config: dict[str, Any], *, setup: WorkerSetup) -> None:
    """Ten epochs of sleep, and the moments at which this began and ended in a file."""
    began = time.time()
    folder = Path(setup.store.location)
    seconds = float((folder / "seconds").read_text()) / EPOCHS
    for epoch in range(1, EPOCHS + 1):
        time.sleep(seconds)
        if epoch == EPOCHS:
            with (folder / f"{os.getpid()}.moments").open("a") as file:
                file.write(f"{began} {time.time()}\n")
        tune.report({EPOCH: epoch, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5, SECONDS: seconds})


def measure(slots: int, trials: int, seconds: float, folder: Path) -> dict[str, float]:
    """One search of sleeping trials: wall seconds, turnaround and overhead a trial (ms), the driver's growth (MB)."""
    (folder / "seconds").write_text(str(seconds))
    problem = SearchProblem(SPACES["cnn-wide"], "cnn-wide", BASELINE, EPOCHS, seed=0, sampler="random")
    process, split = psutil.Process(), Split(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int64))
    study, scheduler = OptunaStudy(problem), NoScheduler(SchedulerSettings(EPOCHS, trials))
    setup = WorkerSetup(
        train=split,
        validation=split,
        spec=CIFAR10,
        store=Store(str(folder)),
        checkpoint_epochs=(),
        keep_weights=False,
        threads=1,
        gpu=False,
    )
    with EventLog(folder / "epochs.jsonl") as log, OptunaDatabase(folder / "optuna.db", problem, study) as database:
        for follower in (scheduler, study, database):
            log.add_listener(follower.apply)
        recorder = Recorder(log, setup.store, EPOCHS)
        searcher = TrialSearcher(problem, log, study, scheduler, lambda number: number < trials)
        source = TrialSource(searcher, RayScheduler(scheduler, recorder), trials)
        before, began = process.memory_info().rss, time.perf_counter()
        run_trials(source, setup, recorder, log, Slots(1, 0, slots, ""), Interruption())
        wall = time.perf_counter() - began
        ended = sum(trial.end is not None for trial in log.state.trials.values())
    assert ended == trials, f"{ended} of {trials} trials ended"
    gaps: list[float] = []
    for file in folder.glob("*.moments"):
        moments = np.loadtxt(file, ndmin=2)
        gaps += (moments[1:, 0] - moments[:-1, 1]).tolist()
    return {
        "wall": wall,
        "turnaround": 1000 * float(np.median(gaps)),
        "overhead": 1000 * (wall * slots / trials - seconds),
        "memory": (process.memory_info().rss - before) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What the driver costs a trial.")
    parser.add_argument("--slots", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--trials", nargs="+", type=int, default=[100])
    parser.add_argument("--seconds", type=float, default=1.0, help="that a trial sleeps")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trainable.train = sleep
    rows = []
    for slots in arguments.slots:
        ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        start_ray()
        for trials in arguments.trials:
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                rows.append(
                    {"slots": slots, "trials": trials, **measure(slots, trials, arguments.seconds, Path(folder))}
                )
        ray.shutdown()
        print(pd.DataFrame(rows[-len(arguments.trials) :]).to_string(index=False), flush=True)
    table = Table("slots", "trials", "wall, s", "turnaround, ms", "overhead a trial, ms", "driver grew, MB", box=None)
    for row in rows:
        table.add_row(
            str(row["slots"]), str(row["trials"]), f"{row['wall']:.0f}", f"{row['turnaround']:.0f}",
            f"{row['overhead']:.0f}", f"{row['memory']:.0f}",
        )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
