"""Replays every scheduler on the curves that `benchmarks.curves` recorded: epochs spent, regret, how often the best is
lost.

    python -m benchmarks.schedulers

A study of 20 trials, the baseline first, is simulated epoch by epoch with the seconds that the epochs took, in 100
orders of the table's recipes. Ray's schedulers are Ray's own classes behind a controller of a few lines. With TPE the
next trial is the recipe of the table nearest to what TPE suggests.
"""

import argparse
import heapq
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)  # fmt: skip
from rich.console import Console
from rich.table import Table

import search_spaces
from benchmarks.curves import EPOCHS, TABLE
from results.events import EpochFinished, TrialEnded, TrialPromoted, TrialStarted
from study.search.schedulers import ASHA, CONTINUE, STOP, SchedulerSettings

ORDERS, SAMPLES = 100, 20
EPOCH, METRIC = "training_iteration", "val_accuracy"


@dataclass(frozen=True)
class Curves:
    """The table: accuracies [recipes, epochs] (NaN after a divergence), seconds an epoch, and the fields drawn."""

    accuracies: NDArray[np.float64]
    seconds: NDArray[np.float64]
    configs: list[dict[str, Any]]


def load_curves() -> Curves:
    table = pd.read_csv(TABLE, index_col="recipe", dtype={"hidden": str})
    after = [f"epoch_{epoch}" for epoch in range(1, EPOCHS + 1)]
    configs = table.drop(columns=["seconds", *after]).to_dict("records")
    return Curves(table[after].to_numpy(), table["seconds"].to_numpy(), configs)


@dataclass(eq=False)
class Simulated:
    """What a scheduler sees of a trial."""

    trial_id: str
    recipe: int
    config: dict[str, Any]
    status: str = Trial.PENDING
    is_saving: bool = False
    last_result: dict[str, Any] = field(default_factory=dict)


class Controller:
    """What a scheduler sees of Ray Tune."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self.scheduler, self.trials = scheduler, list[Simulated]()

    def get_trials(self) -> list[Simulated]:
        return self.trials

    def get_live_trials(self) -> set[Simulated]:
        return {trial for trial in self.trials if trial.status != Trial.TERMINATED}

    def stop_trial(self, trial: Simulated) -> None:
        if trial.status in (Trial.PENDING, Trial.PAUSED):
            self.scheduler.on_trial_remove(self, trial)  # type: ignore[arg-type]
        elif trial.status == Trial.RUNNING:
            self.scheduler.on_trial_complete(self, trial, trial.last_result)  # type: ignore[arg-type]
        trial.status = Trial.TERMINATED


Chooser = Callable[[list[int], dict[int, list[float]], set[int]], int]


@dataclass(frozen=True)
class Spent:
    """One simulated study: epochs, seconds on its slots, accuracy lost to the best of its own trials, the chosen one's
    accuracy after all epochs, whether the best was lost, and the best accuracy seen by the end of each epoch."""

    epochs: int
    seconds: float
    regret: float
    accuracy: float
    lost: bool
    incumbent: list[float]


def simulate(curves: Curves, policy: "Policy", choose: Chooser, slots: int, samples: int = SAMPLES) -> Spent:
    """One study with `policy`, which begins with recipe 0 and then what `choose` says."""
    seen: dict[int, list[float]] = {}
    running: list[tuple[float, int, int]] = []  # when the epoch ends, a tie-breaker, the recipe
    history: list[float] = []
    tick, clock, last = 0, 0.0, 0.0
    while True:
        while len(running) < slots:
            recipe = policy.next(seen, choose, samples)
            if recipe is None:
                break
            heapq.heappush(running, (clock + curves.seconds[recipe], tick, recipe))
            tick += 1
        if not running:
            break
        clock, _, recipe = heapq.heappop(running)
        last = clock
        epochs = seen.setdefault(recipe, [])
        accuracy = float(curves.accuracies[recipe, len(epochs)])
        if np.isnan(accuracy):
            policy.failed(recipe)
            continue
        epochs.append(accuracy)
        history.append(accuracy)
        if policy.continues(recipe, len(epochs), accuracy):
            heapq.heappush(running, (clock + curves.seconds[recipe], tick, recipe))
            tick += 1
    incumbent = np.maximum.accumulate(history).tolist()
    ends = {recipe: curves.accuracies[recipe, -1] for recipe in seen}
    ends = {recipe: end for recipe, end in ends.items() if not np.isnan(end)}
    chosen = max((recipe for recipe in ends if seen[recipe]), key=lambda recipe: seen[recipe][-1])
    best = max(ends, key=lambda recipe: ends[recipe])
    spent = sum(map(len, seen.values()))
    return Spent(spent, last, float(ends[best] - ends[chosen]), float(ends[chosen]), chosen != best, incumbent)


class Policy:
    """One of Ray's schedulers behind the questions that `simulate` asks."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler
        self._controller = Controller(scheduler)
        self._of: dict[int, Simulated] = {}

    def next(self, seen: dict[int, list[float]], choose: Chooser, samples: int) -> int | None:
        """The recipe that a free slot gets, new or paused; None while there is nothing to do."""
        if len(self._of) < samples and not any(trial.status == Trial.PENDING for trial in self._controller.trials):
            recipe = choose(list(self._of), seen, self._busy())
            trial = Simulated(str(recipe), recipe, {"number": len(self._of)})
            self._of[recipe] = trial
            self._controller.trials.append(trial)
            self._scheduler.on_trial_add(self._controller, trial)  # type: ignore[arg-type]
        chosen: Any = self._scheduler.choose_trial_to_run(self._controller)  # type: ignore[arg-type]
        if chosen is None or chosen.status == Trial.RUNNING:
            return None
        chosen.status = Trial.RUNNING
        return int(chosen.recipe)

    def continues(self, recipe: int, epoch: int, accuracy: float) -> bool:
        """Whether the trial has its next epoch at once."""
        trial = self._of[recipe]
        trial.last_result = {EPOCH: epoch, METRIC: accuracy}
        if epoch >= EPOCHS:
            self._scheduler.on_trial_result(self._controller, trial, trial.last_result)  # type: ignore[arg-type]
            self._controller.stop_trial(trial)
            return False
        decision = self._scheduler.on_trial_result(self._controller, trial, trial.last_result)  # type: ignore[arg-type]
        if decision == TrialScheduler.STOP:
            self._controller.stop_trial(trial)
        elif decision == TrialScheduler.PAUSE:
            trial.status = Trial.PAUSED
        return decision == TrialScheduler.CONTINUE

    def failed(self, recipe: int) -> None:
        """The trial diverged."""
        self._controller.stop_trial(self._of[recipe])

    def _busy(self) -> set[int]:
        return {recipe for recipe, trial in self._of.items() if trial.status == Trial.RUNNING}


class Promotion:
    """The suite's own ASHA behind the same questions."""

    def __init__(self, grace_period: int, reduction_factor: int, samples: int = SAMPLES) -> None:
        self._asha = ASHA(SchedulerSettings(EPOCHS, samples, grace_period, reduction_factor))
        self._recipes: list[int] = []
        self._busy: set[int] = set()

    def next(self, seen: dict[int, list[float]], choose: Chooser, samples: int) -> int | None:
        if len(self._recipes) >= samples:
            self._asha.no_more_trials()
        number = self._asha.next_promotion()
        if number is not None:
            self._asha.apply(TrialPromoted(number=number))
        elif len(self._recipes) < samples:
            number = len(self._recipes)
            self._recipes.append(choose(self._recipes, seen, self._busy))
            self._asha.apply(TrialStarted(number=number, config={}, seed=0))
        else:
            return None
        self._busy.add(self._recipes[number])
        return self._recipes[number]

    def continues(self, recipe: int, epoch: int, accuracy: float) -> bool:
        number, metrics = self._recipes.index(recipe), {METRIC: accuracy}
        self._asha.apply(EpochFinished(number=number, epoch=epoch, metrics=metrics, seconds=0.0, time_total_s=0.0))
        decision = self._asha.decide(number)
        if decision != CONTINUE:
            self._busy.discard(recipe)
        if decision == STOP:
            self._asha.apply(TrialEnded(number=number, status="completed", reason=None))
        return decision == CONTINUE

    def failed(self, recipe: int) -> None:
        self._asha.apply(TrialEnded(number=self._recipes.index(recipe), status="diverged", reason=None))
        self._busy.discard(recipe)


ON = {"time_attr": EPOCH, "metric": METRIC, "mode": "max"}
POLICIES: dict[str, Callable[[], Any]] = {
    "none": lambda: Policy(FIFOScheduler()),
    "median stopping": lambda: Policy(MedianStoppingRule(**ON, grace_period=1, min_samples_required=3)),
    "Hyperband, 3": lambda: Policy(HyperBandScheduler(**ON, max_t=EPOCHS, reduction_factor=3)),
    **{
        f"Ray's ASHA, {grace}, {factor}": partial(
            lambda grace, factor: Policy(
                ASHAScheduler(**ON, max_t=EPOCHS, grace_period=grace, reduction_factor=factor)
            ),
            grace,
            factor,
        )
        for grace, factor in ((1, 3), (1, 2), (1, 4), (3, 3))
    },
    **{
        f"promoting ASHA, {grace}, {factor}": partial(Promotion, grace, factor)
        for grace, factor in ((1, 2), (1, 3), (1, 4), (2, 2), (2, 3), (2, 4), (3, 3), (3, 4))
    },
}  # fmt: skip


def shuffled(order: int, recipes: int) -> Chooser:
    """Recipe 0, then the others in a random order."""
    rest = np.random.default_rng(order).permutation(np.arange(1, recipes)).tolist()
    return lambda begun, seen, busy: [0, *rest][len(begun)]


class Tpe:
    """Recipe 0, then the unused recipe nearest to what TPE suggests, by the mean distance over all hyperparameters."""

    def __init__(self, curves: Curves, order: int, startup_trials: int = 10) -> None:
        self._curves, self._order, self._startup = curves, order, startup_trials
        self._distributions = search_spaces.hyperparameters(search_spaces.SPACES["cnn-wide"], {})

    def __call__(self, begun: Sequence[int], seen: dict[int, list[float]], busy: set[int]) -> int:
        if not begun:
            return 0
        seed = int(np.random.SeedSequence([self._order, len(begun)]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._startup, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for recipe in begun:
            study.add_trial(self._trial(recipe, seen.get(recipe, []), recipe in busy))
        suggested = study.ask(self._distributions).params
        left = [recipe for recipe in range(len(self._curves.configs)) if recipe not in begun]
        return min(left, key=lambda recipe: self._distance(self._curves.configs[recipe], suggested))

    def _trial(self, recipe: int, accuracies: list[float], busy: bool) -> optuna.trial.FrozenTrial:
        config = self._curves.configs[recipe]
        known = {
            name: config[name]
            for name, distribution in self._distributions.items()
            if distribution._contains(distribution.to_internal_repr(config[name]))
        }
        whole = len(accuracies) == EPOCHS
        state = TrialState.RUNNING if busy else TrialState.COMPLETE if whole else TrialState.PRUNED
        if not accuracies and not busy:
            state = TrialState.FAIL
        return create_trial(
            state=state,
            value=accuracies[-1] if state == TrialState.COMPLETE else None,
            params=known,
            distributions={name: self._distributions[name] for name in known},
            intermediate_values=dict(enumerate(accuracies, 1)),
        )

    def _distance(self, one: dict[str, Any], other: dict[str, Any]) -> float:
        return float(
            np.mean(
                [_apart(distribution, one[name], other[name]) for name, distribution in self._distributions.items()]
            )
        )


def _apart(distribution: Any, one: Any, other: Any) -> float:
    """The distance of two values of a hyperparameter: its share of the range, or whether they differ."""
    if isinstance(distribution, CategoricalDistribution):
        return float(one != other)
    if distribution.log:
        return float(abs(np.log(one / other)) / np.log(distribution.high / distribution.low))
    return abs(one - other) / (distribution.high - distribution.low)


def _study(policy: str, method: str, slots: int, order: int) -> Spent:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = load_curves()
    startup = int(method.split()[1]) if method.startswith("tpe ") else 10
    choose = shuffled(order, len(curves.configs)) if method == "random" else Tpe(curves, order, startup)
    return simulate(curves, POLICIES[policy](), choose, slots)


def main() -> None:
    parser = argparse.ArgumentParser(description="Replay schedulers on recorded learning curves.")
    parser.add_argument("--only", nargs="+", choices=POLICIES, default=list(POLICIES), metavar="SCHEDULER")
    parser.add_argument("--slots", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--methods", nargs="+", default=["random", "tpe"])
    parser.add_argument("--orders", type=int, default=ORDERS)
    arguments = parser.parse_args()
    table = Table(
        "trials", "slots", "scheduler", "epochs", "fewer", "regret", "90%", "chosen", "best lost", "time", box=None
    )
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for method in arguments.methods:
            for slots in arguments.slots:
                for policy in arguments.only:
                    study = partial(_study, policy, method, slots)
                    all_spent = pd.DataFrame(list(pool.map(study, range(arguments.orders), chunksize=5)))
                    median, mean = all_spent.median(numeric_only=True), all_spent.mean(numeric_only=True)
                    table.add_row(
                        method, str(slots), policy, f"{median['epochs']:.0f}",
                        f"{SAMPLES * EPOCHS / median['epochs']:.1f} x", f"{100 * median['regret']:.2f}",
                        f"{100 * all_spent['regret'].quantile(0.9):.2f}", f"{mean['accuracy']:.2%}",
                        f"{mean['lost']:.0%}", f"{mean['seconds']:.0f}",
                    )  # fmt: skip
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
