"""Replays samplers and schedulers on recorded learning curves.

    python -m benchmarks.search_replay --taskset DIRECTORY            # adds to search_replay.csv what is missing
    python -m benchmarks.search_replay --taskset DIRECTORY --report   # prints the comparison

The protocol was fixed before the first result: docs/search-benchmark.md. The study's own OptunaStudy, samplers and
schedulers run in this process, behind a simulation of the slots. The next trial is the unused recipe of the table that
is nearest to what the sampler suggests.
"""

import argparse
import heapq
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

import search_spaces
from benchmarks.curves import TABLE as SMALL_TABLE
from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialPromoted, TrialStarted
from search_spaces import Space
from search_spaces.priors import ChoicePrior, LogNormalPrior, NormalPrior, Prior, with_priors
from study.recipe import BASELINE, Recipe
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem, derived_seed
from study.search.schedulers import CONTINUE, SCHEDULERS, STOP, Scheduler, SchedulerSettings
from study.training.metrics import METRICS, Metric

RESULTS = Path(__file__).with_name("search_replay.csv")
OWN_TABLE = Path(__file__).with_name("search_table.parquet")
SAMPLES = 20
# Epochs after which the regret of a study without a bound is noted.
BUDGETS = (*range(7, 71, 7), 27, 105, 140, 200)
LOSS = Metric("loss", "min", lambda labels, probabilities: 0.0)


@dataclass(frozen=True)
class Table:
    """Recorded curves of one task.

    Attributes:
        configs: the values of the space's hyperparameters, a row a recipe.
        values: the metric after each epoch [recipes, epochs]; NaN from a divergence on.
        seconds: of each epoch, the same shape.
        first: the recipe that trial 0 has; None for a random one.
        unit: epochs that count as one of a training of 27.
    """

    name: str
    configs: pd.DataFrame
    values: NDArray[np.float64]
    seconds: NDArray[np.float64]
    space: Space
    metric: Metric
    first: int | None
    at_rungs: NDArray[np.float64] | None = None
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        return int(self.values.shape[1])

    @property
    def unit(self) -> float:
        return self.epochs / 27

    @property
    def ends(self) -> NDArray[np.float64]:
        """The last value of each recipe, such that larger is better; -inf where it diverged."""
        signed = self.values[:, -1] if self.metric.mode == "max" else -self.values[:, -1]
        return np.where(np.isnan(signed), -np.inf, signed)


class TableProblem(SearchProblem):
    """A problem whose hyperparameters need not be Recipe fields."""

    def recipe(self, number: int, config: dict[str, Any]) -> Recipe:
        return self.base


def small_table() -> Table:
    table = pd.read_csv(SMALL_TABLE, dtype={"hidden": str})
    values = table[[f"epoch_{epoch}" for epoch in range(1, 28)]].to_numpy()
    seconds = np.repeat(table[["seconds"]].to_numpy(), 27, axis=1)
    return _wide("curves", table, values, seconds, None)


def own_table(part: str, at_rungs: str = "val_accuracy") -> Table:
    """The recipes of even number ("develop") or of odd number ("confirm"), their first seed."""
    rows = pd.read_parquet(OWN_TABLE)
    recipes = pd.read_parquet(OWN_TABLE.with_name("search_table_recipes.parquet")).set_index("recipe")
    rows = rows[(rows["repeat"] == 0) & (rows["recipe"] % 2 == (part == "confirm")) & (rows["epoch"] > 0)]
    numbers = sorted(set(rows["recipe"]))

    def grid(column: str) -> NDArray[np.float64]:
        return rows.pivot(index="recipe", columns="epoch", values=column).reindex(numbers).to_numpy(float)

    values, shown = grid("val_accuracy"), grid(at_rungs)
    seconds = grid("seconds")
    seconds = np.where(np.isnan(seconds), np.nanmedian(seconds, axis=1, keepdims=True), seconds)
    name = f"search_table {part}" + ("" if at_rungs == "val_accuracy" else f" {at_rungs}")
    return _wide(name, recipes.loc[numbers], values, seconds, np.where(np.isnan(shown), values, shown))


def _wide(
    name: str,
    recipes: pd.DataFrame,
    values: NDArray[np.float64],
    seconds: NDArray[np.float64],
    at_rungs: NDArray[np.float64] | None,
) -> Table:
    space = search_spaces.SPACES["cnn-wide"]
    found = search_spaces.hyperparameters(space)
    configs = recipes[list(found)].reset_index(drop=True)
    first = 0 if math.isclose(configs["lr"][0], BASELINE.lr) else None
    return Table(name, configs, values, seconds, space, METRICS["accuracy"], first, at_rungs, found)


ADAM = {
    "learning_rate": LogNormalPrior(centre=1e-3, factor=3, source="Kingma & Ba 2015, arXiv:1412.6980"),
    "beta1": NormalPrior(centre=0.9, spread=0.05, source="the same"),
    "beta2": NormalPrior(centre=0.999, spread=0.01, source="the same"),
    "epsilon": LogNormalPrior(centre=1e-8, factor=100, source="the same"),
}


def taskset(path: Path) -> Table:
    """One table of TaskSet; see docs/search-benchmark.md for what is left out."""
    rows = pd.read_csv(path)
    losses = rows[[name for name in rows if name.startswith("valid_loss_")]].to_numpy(float)
    bad = ~np.isfinite(losses) | (losses > np.nanmax(losses[:, 0]))
    values = np.where(np.maximum.accumulate(bad, axis=1), np.nan, losses)[:, 1:]
    configs = rows[[name for name in rows if not name.startswith("valid_loss_")]]
    logarithmic = {name: name not in ("beta1", "beta2") for name in configs}
    found = {
        name: FloatDistribution(float(configs[name].min()), float(configs[name].max()), log=logarithmic[name])
        for name in configs
    }

    @with_priors(**ADAM)
    def space(trial: Any) -> dict[str, Any]:
        return {name: trial.suggest_float(name, each.low, each.high, log=each.log) for name, each in found.items()}

    name = path.name.removesuffix(".csv.gz").removeprefix("FixedTextRNNClassification_")
    return Table(name, configs, values, np.ones_like(values), space, LOSS, None, None, found)


def misled(table: Table) -> Space:
    """The table's space with each prior's centre at the end of its range that is farther from what is recommended."""
    wrong: dict[str, Prior] = {}
    for name, prior in search_spaces.priors_of(table.space).items():
        distribution = table.distributions.get(name)
        if isinstance(distribution, CategoricalDistribution):
            weights = {
                choice: 1 / math.exp(prior.log_density(distribution, choice, BASELINE.as_dict()))
                for choice in distribution.choices
            }
            wrong[name] = ChoicePrior(weights=weights, source="wrong on purpose")
        elif isinstance(distribution, FloatDistribution | IntDistribution):
            low, high = distribution.low, distribution.high
            centre = _share(distribution, prior.centre_in(distribution, BASELINE.as_dict()))
            end = low if centre > 0.5 else high
            if distribution.log:
                factor = (high / low) ** 0.1
                wrong[name] = LogNormalPrior(centre=end, factor=factor, source="wrong on purpose")
            else:
                wrong[name] = NormalPrior(centre=end, spread=(high - low) / 10, source="wrong on purpose")
    return with_priors(**wrong)(table.space)


def _share(distribution: FloatDistribution | IntDistribution, value: Any) -> Any:
    """Where in its range a value lies, from 0 to 1; arrays too."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        return np.log(np.asarray(value, float) / low) / np.log(high / low)
    return (np.asarray(value, float) - low) / (high - low)


class Nearest:
    """Finds the unused recipe of a table that is nearest to a suggestion."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._shares = {
            name: np.asarray(_share(distribution, table.configs[name].to_numpy()))
            for name, distribution in table.distributions.items()
            if isinstance(distribution, FloatDistribution | IntDistribution)
        }
        self.used = np.zeros(len(table.configs), bool)

    def __call__(self, params: Mapping[str, Any]) -> int:
        apart = np.zeros(len(self.used))
        for name, value in params.items():
            distribution = self._table.distributions[name]
            if isinstance(distribution, FloatDistribution | IntDistribution):
                apart += np.abs(self._shares[name] - _share(distribution, value))
            else:
                apart += self._table.configs[name].to_numpy() != value
        apart[self.used] = np.inf
        found = int(apart.argmin())
        self.used[found] = True
        return found


@dataclass(frozen=True)
class Arm:
    sampler: str
    scheduler: str
    misled: bool = False


ARMS = {
    "random, full": Arm("random", "none"),
    "random, ASHA": Arm("random", "asha"),
    "random, top-K": Arm("random", "top-k"),
    "today": Arm("tpe", "asha"),
    "new sampler alone": Arm("prior", "asha"),
    "new scheduler alone": Arm("random", "curves"),
    "tpe, new scheduler": Arm("tpe", "curves"),
    "new sampler alone, misleading prior": Arm("prior", "asha", misled=True),
    "all": Arm("prior", "curves"),
    "all, misleading prior": Arm("prior", "curves", misled=True),
}


class Replay:
    """One study, epoch by epoch, of the recipes of the table or `only` some.

    Attributes:
        events: as a study would have written them.
        seen: (seconds, epochs so far, value) of each epoch, in the order in which they end.
        recipes: the table's recipe of each trial.
        last: the last epoch of each trial.
    """

    def __init__(
        self, table: Table, arm: Arm, slots: int, seed: int, samples: int, only: NDArray[np.int64] | None = None
    ) -> None:
        space = misled(table) if arm.misled else table.space
        self._problem = TableProblem(
            space, table.name, BASELINE, table.epochs, seed, sampler=arm.sampler, metric=table.metric
        )
        self._table, self._slots, self._samples = table, slots, samples
        self._study = OptunaStudy(self._problem)
        settings = SchedulerSettings(table.epochs, samples, metric=table.metric, base=BASELINE.as_dict())
        self._scheduler: Scheduler = SCHEDULERS[arm.scheduler](settings)
        self._nearest = Nearest(table)
        if only is not None:
            self._nearest.used[:] = True
            self._nearest.used[only] = False
        self.events: list[Event] = []
        self._running: list[tuple[float, int, int]] = []
        self._clock, self._tick = 0.0, 0
        self.recipes: list[int] = []
        self.last: list[int] = []
        self.seen: list[tuple[float, int, float]] = []

    def run(self, budget: float = math.inf) -> None:
        """Runs to the study's end, or until `budget` epochs are done."""
        while len(self.seen) < budget:
            while len(self._running) < self._slots and (number := self._next()) is not None:
                self._push(number)
            if not self._running:
                return
            self._clock, _, number = heapq.heappop(self._running)
            self._finish_epoch(number)

    def _push(self, number: int) -> None:
        seconds = self._table.seconds[self.recipes[number], self.last[number]]
        heapq.heappush(self._running, (self._clock + seconds, self._tick, number))
        self._tick += 1

    def _apply(self, event: Event) -> None:
        self.events.append(event)
        self._scheduler.apply(event)
        if self._problem.sampler != "random":  # which looks at nothing
            self._study.apply(event)

    def _next(self) -> int | None:
        more = len(self.recipes) < min(self._samples, len(self._table.configs))
        if not more:
            self._scheduler.no_more_trials()
        promoted = self._scheduler.next_promotion()
        if promoted is not None:
            self._apply(TrialPromoted(number=promoted))
            return promoted
        if not more:
            return None
        number = len(self.recipes)
        recipe = self._choose(number)
        self.recipes.append(recipe)
        self.last.append(0)
        config = self._table.configs.iloc[recipe].to_dict()
        self._apply(TrialStarted(number=number, config=config, params=config, seed=number))
        return number

    def _choose(self, number: int) -> int:
        if number == 0 and self._table.first is not None and not self._nearest.used[self._table.first]:
            self._nearest.used[self._table.first] = True
            return self._table.first
        if number == 0 or self._problem.sampler == "random":
            left = np.flatnonzero(~self._nearest.used)
            found = int(np.random.default_rng(derived_seed(self._problem.seed, number, 1)).choice(left))
            self._nearest.used[found] = True
            return found
        suggestion = self._study.ask()
        assert suggestion is not None
        return self._nearest(suggestion.draw.params)

    def _finish_epoch(self, number: int) -> None:
        table, recipe, epoch = self._table, self.recipes[number], self.last[number] + 1
        value = float(table.values[recipe, epoch - 1])
        if math.isnan(value):
            self._apply(TrialEnded(number=number, status="diverged", reason="recorded so"))
            return
        self.last[number] = epoch
        self.seen.append((self._clock, len(self.seen) + 1, value))
        shown = value if table.at_rungs is None else float(table.at_rungs[recipe, epoch - 1])
        metrics = {f"val_{table.metric.name}": shown if epoch in self._scheduler.rungs else value}
        seconds = float(table.seconds[recipe, epoch - 1])
        self._apply(
            EpochFinished(number=number, epoch=epoch, metrics=metrics, seconds=seconds, time_total_s=seconds * epoch)
        )
        decision = self._scheduler.decide(number)
        if decision == CONTINUE:
            self._push(number)
        elif decision == STOP:
            self._apply(TrialEnded(number=number, status="completed", reason=None))
        else:
            self._apply(TrialPaused(number=number))

    def chosen(self) -> int:
        """The recipe that the study chooses: the best of its completed trials, or else by the last value."""
        sign = 1 if self._table.metric.mode == "max" else -1
        number = max(
            (each for each in range(len(self.recipes)) if self.last[each]),
            key=lambda each: (
                self.last[each] == self._table.epochs,
                sign * self._table.values[self.recipes[each], self.last[each] - 1],
            ),
        )
        return self.recipes[number]


def regret(table: Table, values: NDArray[np.float64]) -> float:
    """Normalised regret of the best of `values`: 0 for the table's best end, 1 for the median one or worse."""
    ends = table.ends
    best, median = float(ends.max()), float(np.median(ends[np.isfinite(ends)]))
    signed = values if table.metric.mode == "max" else -values
    found = float(signed.max()) if len(signed) else median
    return min(1.0, max(0.0, (best - found) / (best - median)))


def measure(table: Table, arm: str, slots: int, seed: int, budget: int) -> Iterator[dict[str, Any]]:
    """Rows for the results: one of a study of 20 trials, and one a budget of a study without bound."""
    key = {"table": table.name, "arm": arm, "slots": slots, "seed": seed}
    bounded = Replay(table, ARMS[arm], slots, seed, SAMPLES)
    bounded.run()
    ends = table.ends
    chosen, best = bounded.chosen(), max(bounded.recipes, key=lambda recipe: ends[recipe])
    span = float(ends.max() - np.median(ends[np.isfinite(ends)]))
    given = min(1.0, (ends[best] - ends[chosen]) / span)
    yield {
        **key,
        "budget": "20 trials",
        "epochs": len(bounded.seen) / table.unit,
        "seconds": bounded.seen[-1][0],
        "regret": min(1.0, float(ends.max() - ends[chosen]) / span),
        "lost": float(ends[chosen] < ends[best]),
        "given_away": given,
    }
    free = Replay(table, ARMS[arm], slots, seed, len(table.configs))
    free.run(budget * table.unit)
    seen = np.array(free.seen)
    for epochs in (each for each in BUDGETS if each <= budget):
        by_then = seen[seen[:, 1] <= epochs * table.unit]
        seconds = float(by_then[-1, 0]) if len(by_then) else 0.0
        yield {
            **key, "budget": f"{epochs} epochs", "epochs": epochs, "seconds": seconds,
            "regret": regret(table, by_then[:, 2]),
        }  # fmt: skip


def tables(directory: Path | None) -> dict[str, Callable[[], Table]]:
    found: dict[str, Callable[[], Table]] = {"curves": cache(small_table)}
    if OWN_TABLE.exists():
        for part in ("develop", "confirm"):
            found[f"search_table {part}"] = cache(lambda part=part: own_table(part))
    for path in sorted(directory.glob("*.csv.gz")) if directory else []:
        found[path.name] = cache(lambda path=path: taskset(path))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Replay samplers and schedulers on recorded learning curves.")
    parser.add_argument("--taskset", type=Path, help="a directory of TaskSet tables")
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    parser.add_argument("--tables", nargs="+", help="parts of the names of the tables to replay")
    parser.add_argument("--slots", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--budget", type=int, default=200, help="epochs of a study without a bound")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.report:
        from benchmarks.search_report import show

        show(pd.read_csv(arguments.output))
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    there = set[tuple[Any, ...]]()
    if arguments.output.exists():
        there = set(pd.read_csv(arguments.output)[["table", "arm", "slots", "seed"]].itertuples(index=False, name=None))
    until = time.monotonic() + 60 * arguments.minutes
    for seed in range(arguments.orders):
        for name, load in tables(arguments.taskset).items():
            if arguments.tables and not any(each in name for each in arguments.tables):
                continue
            table, rows = load(), list[dict[str, Any]]()
            for slots in arguments.slots:
                for arm in arguments.only:
                    if (table.name, arm, slots, seed) not in there and time.monotonic() < until:
                        rows += measure(table, arm, slots, seed, arguments.budget)
            if rows:
                header = not arguments.output.exists()
                frame = pd.DataFrame(rows, columns=COLUMNS).round(5)
                frame.to_csv(arguments.output, mode="a", header=header, index=False)


COLUMNS = ["table", "arm", "slots", "seed", "budget", "epochs", "seconds", "regret", "lost", "given_away"]


if __name__ == "__main__":
    main()
