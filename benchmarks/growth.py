"""How the driver's cost grows with the number of trials: everything but Ray and the trainings, up to 10,000 trials.

    python -m benchmarks.growth
    python -m benchmarks.growth --trials 100 1000 --slots 8 --pairs tpe,asha

Protocol, fixed before the first result:

- Each study runs in a process of its own. It is a real run directory of the space `cnn` with the default settings
  (10 epochs at most) on the synthetic data set: the real sampler, scheduler, searcher, recorder, event log (with its
  fsync), reducers, plain progress, Optuna study and optuna.db. Only Ray Tune is replaced: `feed` calls searcher,
  scheduler and the callbacks in the order in which Ray Tune calls them, with made curves, whose accuracy depends on lr
  and noise. One trial in a hundred diverges. What Ray itself costs is measured by `python -m benchmarks.scaling`.
- Measured is CPU time, not wall time, as the machine has other work: of the thread that Ray Tune's loop would run in
  ("driver"), and of all others, which write optuna.db ("database"); waiting for the disk is in neither. It is given for
  each tenth of the trials, by the trial that begins; the last tenth has the promotions after all have begun. After each
  tenth optuna.db is waited for, so that the tenth has all that it has caused.
- Growth is the driver's seconds a trial of the largest study divided by those of the smallest, of the same sampler,
  scheduler and slots, each without its first tenth, which has what happens once in a process. The goal is 1.5 from 100
  to 10,000 trials. (Left out since a first look at 100 trials: the first tenth, as it made the goal easier to reach.)
- Memory is the process's resident set after each tenth; its slope is that of a straight line through the tenths.
- Of the last study of each size: CPU and wall seconds of `--resume` until the first suggestion, of `python -m results
  show` and of `python -m results report` (start of Python included), of reading and of writing all tables, and the
  report's size.
- One run of each, without repetition.
"""

import argparse
import heapq
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from ray.tune.search import Searcher

import results
from results.metric import ACCURACY
from study.config import StudyConfig
from study.execution import cluster
from study.execution.interruption import Interruption
from study.execution.recorder import AfterEachTraining, CheckpointCleaner, Recorder
from study.execution.resources import Slots
from study.execution.runner import TrialSource
from study.execution.trainable import DIVERGED, EPOCH, SECONDS, WorkerSetup
from study.pipeline.console import Output, StudyConsole
from study.pipeline.make_problem import make_problem
from study.pipeline.phases import search as search_phase
from study.pipeline.phases.search import SearchSettings, make_scheduler
from study.pipeline.prepare_run import Request, resume_run, start_run
from study.pipeline.run_context import StudyContext
from study.recipe import BASELINE
from study.search.optuna_study import OptunaDatabase
from study.storage.event_log import EventLog

PARTS = 10
PAIRS = ["prior,curves", "prior,asha", "tpe,asha"]
DIVERGES = 100  # one trial in so many


@dataclass(frozen=True)
class Study:
    """One simulated study."""

    trials: int
    slots: int
    sampler: str
    scheduler: str
    folder: str

    @property
    def path(self) -> Path:
        return Path(self.folder) / f"{self.sampler}-{self.scheduler}-{self.slots}-{self.trials}"


@dataclass
class RayTrial:
    """What callbacks read of Ray Tune's trial."""

    trial_id: str
    config: dict[str, Any]
    last_result: dict[str, Any] = field(default_factory=dict)


def report_of(trial: RayTrial, epoch: int, max_epochs: int) -> dict[str, Any]:
    """What a training with a made curve reports after `epoch`."""
    number, recipe = trial.config["number"], trial.config["recipe"]
    random = np.random.default_rng([number, epoch])
    if number % DIVERGES == DIVERGES - 1 and epoch > 1:
        return {EPOCH: epoch, DIVERGED: f"the loss is nan in epoch {epoch}"}
    luck = 0.02 * np.random.default_rng(number).normal()
    end = 0.5 + 0.3 * np.exp(-(np.log10(recipe["lr"] / 0.05) ** 2)) + luck
    accuracy = float(end * (1 - 0.6 * np.exp(-4 * epoch / max_epochs)) + 0.004 * random.normal())
    return {
        EPOCH: epoch,
        "train_loss": 2 * (1 - accuracy),
        "val_loss": 2.1 * (1 - accuracy),
        "val_accuracy": accuracy,
        SECONDS: float(np.exp(0.3 * random.normal())),
    }


def feed(
    after_start: Callable[[int], None],
    source: TrialSource,
    setup: WorkerSetup,
    recorder: Recorder,
    log: EventLog,
    slots: Slots,
    interruption: Interruption,
    max_epochs: int = 10,
) -> None:
    """In the place of `run_trials`: feeds made curves, in the order in which Ray Tune would.

    Args:
        after_start: called with the number of trials that have begun.
    """
    callbacks = [recorder, CheckpointCleaner(setup.store, log), AfterEachTraining(source.after_each)]
    running: list[tuple[float, int, int, RayTrial]] = []
    clock, seen = 0.0, 0
    while interruption.reason is None:
        while len(running) < slots.count and seen < source.count:
            config = source.searcher.suggest(str(seen))
            if not isinstance(config, dict):
                break
            trial = RayTrial(str(seen), config)
            seen += 1
            heapq.heappush(running, (clock + 1.0, seen, config["recorded"] + 1, trial))
            after_start(len(log.state.trials))
        if not running:
            return
        clock, order, epoch, trial = heapq.heappop(running)
        trial.last_result = result = report_of(trial, epoch, max_epochs)
        decision = source.scheduler.on_trial_result(None, trial, result)  # type: ignore[union-attr, arg-type]
        for callback in callbacks:
            callback.on_trial_result(0, [], trial, result)
        if decision == "CONTINUE":
            heapq.heappush(running, (clock + result[SECONDS], order, epoch + 1, trial))
            continue
        source.searcher.on_trial_complete(trial.trial_id, result)
        for callback in callbacks:
            callback.on_trial_complete(0, [], trial)


class Meter:
    """CPU seconds and memory after each tenth of the trials."""

    def __init__(self, trials: int, databases: list[OptunaDatabase]) -> None:
        self._at = [round(trials * part / PARTS) for part in range(1, PARTS)]
        self._databases, self._process = databases, psutil.Process()
        self.rows: list[dict[str, float]] = []
        self._last = (time.thread_time(), time.process_time())

    def after_start(self, begun: int) -> None:
        if self._at and begun >= self._at[0]:
            self._at.pop(0)
            self.note(begun)

    def note(self, begun: int) -> None:
        """Waits for optuna.db and notes what has been spent since the last time."""
        for database in self._databases:
            database.wait()
        driver, process = time.thread_time(), time.process_time()
        spent, total = driver - self._last[0], process - self._last[1]
        memory = self._process.memory_info().rss / 1e6
        self.rows.append({"trials": begun, "driver": spent, "database": total - spent, "memory": memory})
        self._last = (driver, process)


@contextmanager
def simulated(run_trials: Callable[..., None], slots: int) -> Iterator[list[OptunaDatabase]]:
    """Inside, a search has so many pretended slots, and `run_trials` in the place of Ray Tune; gives its optuna.db."""
    databases: list[OptunaDatabase] = []

    class Kept(OptunaDatabase):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            databases.append(self)

    before = search_phase.run_trials, search_phase.OptunaDatabase, cluster.start_ray
    search_phase.run_trials, search_phase.OptunaDatabase = run_trials, Kept  # type: ignore[misc, assignment]
    cluster.start_ray = lambda address=None: [{"CPU": float(slots), "GPU": 0.0}]  # type: ignore[assignment]
    try:
        yield databases
    finally:
        search_phase.run_trials, search_phase.OptunaDatabase, cluster.start_ray = before  # type: ignore[misc]


def request(study: Study, samples: int) -> Request:
    """What `python -m study.run` would ask for."""
    config = StudyConfig(
        space="cnn",
        dataset="synthetic",
        samples=samples,
        sampler=study.sampler,
        scheduler=study.scheduler,
        data_dir=Path(study.folder) / "data",
        name=study.path.name,
    )
    recorded = None if not study.path.exists() else json.loads((study.path / "study.json").read_text())
    problem = make_problem(config, recorded)
    settings = SearchSettings.of(config)
    content: dict[str, Any] = {
        "samples": samples,
        "max_epochs": config.max_epochs,
        "grace_period": config.grace_period,
        "reduction_factor": config.reduction_factor,
        "epoch_budget": None,
    }
    if recorded is None:
        rungs = list(make_scheduler(config.scheduler, problem, settings).rungs)
        content |= {"kind": "search", "baseline": BASELINE.as_dict(), "rungs": rungs, "warm_start": None}
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115  # as long as the study
    output = Output(StudyConsole(file=nowhere), progress="plain")
    return Request("study.run", config, config, [], content, output, problem)


def simulate(study: Study) -> list[dict[str, float]]:
    """Runs a study; CPU seconds, memory (MB) and trials begun after each tenth, and at last the peak of memory."""
    meters: list[Meter] = []

    def run_trials(*arguments: Any) -> None:
        meters.append(Meter(study.trials, databases))
        feed(meters[0].after_start, *arguments)
        meters[0].note(study.trials)

    with simulated(run_trials, study.slots) as databases:
        context: StudyContext = start_run(study.path, request(study, study.trials))
        search_phase.search(context, SearchSettings.of(context.config), "search")
        context.study.update(status="finished")
        context.lock.release()
    assert databases[0].failure is None, databases[0].failure
    return [{**row, "peak": peak_memory()} for row in meters[0].rows]


def peak_memory() -> float:
    """Of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resume(study: Study) -> dict[str, float]:
    """CPU and wall seconds of `--resume` with as many further samples as slots, until the first suggestion."""
    found: dict[str, float] = {}
    began = time.perf_counter(), time.thread_time(), time.process_time()

    def run_trials(source: TrialSource, *arguments: Any) -> None:
        config = source.searcher.suggest("0")
        assert config != Searcher.FINISHED
        found["resume"] = time.perf_counter() - began[0]
        found["resume, driver CPU"] = time.thread_time() - began[1]
        databases[0].wait()
        found["resume, all CPU with optuna.db"] = time.process_time() - began[2]
        found["resume, peak MB"] = peak_memory()
        arguments[-1].reason = "SIGINT"

    with simulated(run_trials, study.slots) as databases:
        context: StudyContext = resume_run(study.path, request(study, study.trials + study.slots))
        search_phase.search(context, SearchSettings.of(context.config), "search")
        context.study.update(status="finished")
        context.lock.release()
    return found


def tables(study: Study) -> dict[str, float]:
    """CPU seconds of reading the run and of writing its tables."""
    began = time.process_time()
    run = results.load_run(study.path)
    read = time.process_time()
    results.write_tables(run)
    assert run.metric == ACCURACY
    written = time.process_time()
    return {"load": read - began, "write tables": written - read, "load and write, peak MB": peak_memory()}


def command(study: Study, name: str) -> dict[str, float]:
    """CPU and wall seconds of `python -m results NAME`."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "results", name, str(study.path)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {f"{name}, CPU": cpu, name: time.perf_counter() - began}


def views(study: Study) -> dict[str, float]:
    """What reading the finished run costs: tables, `show` and the report."""
    found = {**tables(study), **command(study, "show"), **command(study, "report")}
    return {**found, "report, MB": (study.path / "report.html").stat().st_size / 1e6}


def alone(function: Callable[[Study], Any], study: Study) -> Any:
    """Calls it in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, study).result()


def by_tenth(rows: list[dict[str, float]], study: Study) -> pd.DataFrame:
    """Milliseconds a trial of driver and database in each tenth, and memory after it."""
    table = pd.DataFrame(rows)
    began = table["trials"].diff().fillna(table["trials"])
    for column in ("driver", "database"):
        table[f"{column}, ms"] = 1000 * table.pop(column) / began
    table.insert(0, "study", study.path.name)
    return table.round(1)


def summary(table: pd.DataFrame, study: Study) -> dict[str, Any]:
    """The study in one row: means without the first tenth, the last tenth, and memory with its slope."""
    driver, database = table["driver, ms"].iloc[1:], table["database, ms"].iloc[1:]
    slope = float(np.polyfit(table["trials"], table["memory"], 1)[0])
    return {
        "sampler": study.sampler,
        "scheduler": study.scheduler,
        "slots": study.slots,
        "trials": study.trials,
        "driver, ms a trial": driver.mean(),
        "last tenth": driver.iloc[-1],
        "optuna.db, ms a trial": database.mean(),
        "last tenth of it": database.iloc[-1],
        "peak, MB": table["peak"].iloc[-1],
        "KB a trial": 1000 * slope,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How the driver's cost grows with the number of trials.")
    parser.add_argument("--trials", nargs="+", type=int, default=[100, 1000, 10000])
    parser.add_argument("--slots", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="SAMPLER,SCHEDULER")
    parser.add_argument("--no-views", action="store_true", help="measure the studies only, not what reads them")
    arguments = parser.parse_args()
    summaries: list[dict[str, Any]] = []
    read: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for trials in arguments.trials:
            for sampler, scheduler in (pair.split(",") for pair in arguments.pairs):
                for slots in arguments.slots:
                    study = Study(trials, slots, sampler, scheduler, folder)
                    table = by_tenth(alone(simulate, study), study)
                    print(table.to_string(index=False), flush=True)
                    summaries.append(summary(table, study))
            if not arguments.no_views:
                read.append({"trials": trials, **alone(views, study), **alone(resume, study)})
                print(pd.Series(read[-1]).round(1).to_string(), flush=True)
    found = pd.DataFrame(summaries)
    cost = found.groupby(["sampler", "scheduler", "slots"])["driver, ms a trial"]
    found["growth"] = found["driver, ms a trial"] / cost.transform("first")
    print(found.round(2).to_string(index=False))
    if read:
        print(pd.DataFrame(read).set_index("trials").T.round(1).to_string())


if __name__ == "__main__":
    main()
