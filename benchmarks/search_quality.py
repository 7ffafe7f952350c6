"""The default study against random search with the same epochs, on real trainings: the incumbent over epochs.

    python -m benchmarks.search_quality

Random search trains every recipe that it draws to its end. Random draws under the suite's own promoting ASHA (grace
period 1, reduction factor 2) stand between the two and tell what is owed to the scheduler and what to TPE. 10 epochs a
trial, on the first 4,000 images of a fixed shuffle of the 45,000 training images; validated on all 5,000 held out.
--seeds studies each, one after the other in each of --workers processes, one thread a training. The incumbent is the
best validation accuracy seen so far. What is in the table already is not trained again.
"""

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import torch
from ray.tune.search import Searcher
from rich.console import Console
from rich.table import Table

import search_spaces
from benchmarks.curves import splits
from results.events import EpochFinished, Status, TrialEnded, TrialPaused
from study import data
from study.data import DataOptions
from study.execution.trial_searcher import TrialSearcher
from study.recipe import BASELINE, Recipe
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem
from study.search.schedulers import CONTINUE, SCHEDULERS, STOP, Scheduler, SchedulerSettings
from study.storage.event_log import EventLog
from study.training.loop import Diverged, Epoch, Training

TABLE = Path(__file__).with_name("search_quality.csv")
SAMPLES, EPOCHS = 20, 10
ARMS = ("random search", "random, ASHA", "TPE, ASHA")
# As many complete trials as take about the epochs that a default study takes.
COMPLETE_TRIALS = 7


def accuracies(arm: str, seed: int, data_dir: Path) -> list[float]:
    """Validation accuracy after each epoch of one study, in the order in which they were trained."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    to_the_end = arm == "random search"
    samples = COMPLETE_TRIALS if to_the_end else SAMPLES
    sampler = "tpe" if arm.startswith("TPE") else "random"
    problem = SearchProblem(search_spaces.SPACES["cnn-wide"], "cnn-wide", BASELINE, EPOCHS, seed, sampler=sampler)
    scheduler = SCHEDULERS["none" if to_the_end else "asha"](SchedulerSettings(EPOCHS, samples))
    study = OptunaStudy(problem)
    with (
        tempfile.TemporaryDirectory() as folder,
        EventLog(Path(folder) / "epochs.jsonl", [scheduler.apply, study.apply]) as log,
    ):
        searcher = TrialSearcher(problem, log, study, scheduler, lambda number: number < samples)
        return _in_one_slot(searcher, scheduler, log, data_dir)


def _in_one_slot(searcher: TrialSearcher, scheduler: Scheduler, log: EventLog, data_dir: Path) -> list[float]:
    trainings: dict[int, Iterator[Epoch]] = {}
    found: list[float] = []
    while (asked := searcher.suggest("the only slot")) != Searcher.FINISHED:
        number = asked["number"]
        if number not in trainings:
            trainings[number] = iter(Training(Recipe.from_dict(asked["recipe"]), *splits(data_dir)))
        status: Status = "completed"
        decision = CONTINUE
        while decision == CONTINUE:
            try:
                epoch = next(trainings[number])
            except Diverged:
                status, decision = "diverged", STOP
                continue
            accuracy = epoch.metrics["val_accuracy"]
            assert accuracy is not None
            found.append(accuracy)
            log.append(
                EpochFinished(number=number, epoch=epoch.number, metrics=epoch.metrics, seconds=0.0, time_total_s=0.0)
            )
            decision = scheduler.decide(number)
        searcher.on_trial_complete("the only slot")
        done = TrialEnded(number=number, status=status, reason=None)
        log.append(done if decision == STOP else TrialPaused(number=number))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="The default study against random search with the same epochs.")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    data.load("cifar10", DataOptions(arguments.data_dir))
    table = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=["arm", "seed", "epoch", "val_accuracy"])
    known = set(zip(table["arm"], table["seed"], strict=True))
    with ProcessPoolExecutor(arguments.workers) as pool:
        waiting = {
            pool.submit(accuracies, arm, seed, arguments.data_dir): (arm, seed)
            for seed in range(arguments.seeds)
            for arm in ARMS
            if (arm, seed) not in known
        }
        for done in as_completed(waiting):
            arm, seed = waiting[done]
            rows = [
                {"arm": arm, "seed": seed, "epoch": epoch, "val_accuracy": round(each, 4)}
                for epoch, each in enumerate(done.result(), 1)
            ]
            table = pd.concat([table, pd.DataFrame(rows)]).sort_values(["arm", "seed", "epoch"])
            table.to_csv(TABLE, index=False)
            print(arm, seed, f"{len(rows)} epochs, {max(done.result()):.2%}", flush=True)
    show(table[table["seed"] < arguments.seeds])


def incumbents(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The best accuracy by the end of each epoch, [studies, epochs], by arm; a study that has ended keeps its own."""
    epochs = int(table["epoch"].max())
    found = {}
    for arm in ARMS:
        studies = [study["val_accuracy"].cummax() for _, study in table[table["arm"] == arm].groupby("seed")]
        found[arm] = np.array([np.pad(each, (0, epochs - len(each)), mode="edge") for each in studies])
    return found


def show(table: pd.DataFrame) -> None:
    found = incumbents(table)
    budget = COMPLETE_TRIALS * EPOCHS
    shown = Table("epochs", *(f"{arm}: median (quartiles)" for arm in ARMS), box=None)
    for at in range(10, budget + 1, 10):
        row = []
        for curve in found.values():
            middle, low, high = np.quantile(curve[:, at - 1], [0.5, 0.25, 0.75])
            row.append(f"{middle:.2%} ({low:.2%} to {high:.2%})")
        shown.add_row(str(at), *row)
    Console(width=130).print(shown)
    for against in ARMS[:-1]:
        goal = float(np.median(found[against][:, budget - 1]))
        when = np.flatnonzero(np.median(found[ARMS[-1]], axis=0) >= goal)
        said = f"after {when[0] + 1} epochs, {(when[0] + 1) / budget:.0%}" if len(when) else "never"
        print(f"{against} has {goal:.2%} (median) after {budget} epochs; {ARMS[-1]} {said}")


if __name__ == "__main__":
    main()
