"""The comparison of docs/search-benchmark.md, from the rows that `benchmarks.search_replay` has written.

python -m benchmarks.search_report
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import trim_mean

RESULTS = Path(__file__).with_name("search_replay.parquet")
BOOTSTRAPS = 500
REFERENCE, REFERENCE_EPOCHS = "today", 70


def resampled(rows: pd.DataFrame, column: str) -> list[NDArray[np.float64]]:
    """`column` of the rows, resampled within each table: the strata of the bootstrap."""
    random = np.random.default_rng(0)
    strata = [group[column].to_numpy(float) for _, group in rows.groupby("table")]
    return [np.concatenate([random.choice(each, len(each)) for each in strata]) for _ in range(BOOTSTRAPS)]


def interquartile_mean(values: NDArray[np.float64]) -> float:
    return float(trim_mean(values, 0.25))


def interval(values: list[float]) -> str:
    low, high = np.quantile(values, [0.025, 0.975], method="nearest")
    return f"{low:.3f} to {high:.3f}"


def improvement(rows: pd.DataFrame, reference: pd.DataFrame) -> float:
    """The probability that an order of `rows` has less regret than one of `reference`; the mean over tables."""
    found = []
    for name, group in rows.groupby("table"):
        other = reference.loc[reference["table"] == name, "regret"].to_numpy()
        gaps = other[None, :] - group["regret"].to_numpy()[:, None]
        found.append(float((gaps > 0).mean() + 0.5 * (gaps == 0).mean()))
    return float(np.mean(found))


def by_epoch(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Regret of each order (rows) after each epoch that was noted (columns), a table of the benchmark each."""
    return [group.pivot(index="seed", columns="epochs", values="regret") for _, group in rows.groupby("table")]


def epochs_to_equal(regrets: list[pd.DataFrame], goal: float) -> float:
    """When the interquartile mean of regret is `goal`, interpolated between the epochs noted; infinite if never."""
    means = pd.Series(trim_mean(np.concatenate(regrets), 0.25, axis=0), regrets[0].columns)
    reached = np.flatnonzero(means.to_numpy() <= goal + 1e-9)
    if not len(reached):
        return float("inf")
    at = int(reached[0])
    if at == 0:
        return float(means.index[0])
    return float(np.interp(-goal, -means.iloc[at - 1 : at + 1], means.index[at - 1 : at + 1]))


def ratio_to_reference(rows: pd.DataFrame, reference: pd.DataFrame) -> tuple[float, list[float]]:
    """Epochs until the reference's regret after 70 epochs, as a share of 70; and the same in each resample."""
    ours, theirs = by_epoch(rows), by_epoch(reference)
    random = np.random.default_rng(0)

    def ratio(ours: list[pd.DataFrame], theirs: list[pd.DataFrame]) -> float:
        goal = interquartile_mean(np.concatenate([each[REFERENCE_EPOCHS].to_numpy() for each in theirs]))
        return epochs_to_equal(ours, goal) / REFERENCE_EPOCHS

    def again(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
        return [each.iloc[random.integers(len(each), size=len(each))] for each in tables]

    return ratio(ours, theirs), [ratio(again(ours), again(theirs)) for _ in range(BOOTSTRAPS)]


def bounded(rows: pd.DataFrame) -> Table:
    """Studies of 20 trials, at their end."""
    table = Table("20 trials", "orders", "epochs", "best lost", "given away", "regret (IQM)", "95%", box=None)
    for arm, of_arm in rows.groupby("arm", sort=False):
        table.add_row(
            str(arm), str(len(of_arm)), f"{of_arm['epochs'].mean():.0f}", f"{of_arm['lost'].mean():.1%}",
            f"{of_arm['given_away'].mean():.3f}", f"{interquartile_mean(of_arm['regret'].to_numpy()):.3f}",
            interval([interquartile_mean(each) for each in resampled(of_arm, "regret")]),
        )  # fmt: skip
    return table


def unbounded(rows: pd.DataFrame) -> Table:
    """Studies that go on, by the epochs that they have had."""
    table = Table(
        "by epochs", "orders", "27", "70", "95%", "better than today", "reaches today's 70 after", "95%", box=None
    )
    reference = rows[rows["arm"] == REFERENCE]
    for arm, of_arm in rows.groupby("arm", sort=False):
        early, last = (of_arm[of_arm["epochs"] == epochs] for epochs in (27, REFERENCE_EPOCHS))
        ratio, again = ratio_to_reference(of_arm, reference)
        table.add_row(
            str(arm), str(len(last)), f"{interquartile_mean(early['regret'].to_numpy()):.3f}",
            f"{interquartile_mean(last['regret'].to_numpy()):.3f}",
            interval([interquartile_mean(each) for each in resampled(last, "regret")]),
            f"{improvement(last, reference[reference['epochs'] == REFERENCE_EPOCHS]):.0%}",
            f"{ratio:.2f}", interval(again),
        )  # fmt: skip
    return table


def show(results: pd.DataFrame) -> None:
    console = Console(width=170)
    for slots, rows in results.groupby("slots"):
        ended = rows["budget"] == "20 trials"
        console.print(f"\n{slots} slots", bounded(rows[ended]), unbounded(rows[~ended & (rows["epochs"] <= 70)]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the arms of benchmarks.search_replay.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a .parquet or .csv of rows")
    parser.add_argument("--tables", default="", help="only tables with this in their name")
    arguments = parser.parse_args()
    rows = pd.read_csv(arguments.results) if arguments.results.suffix == ".csv" else pd.read_parquet(arguments.results)
    show(rows[rows["table"].str.contains(arguments.tables, regex=False)])


if __name__ == "__main__":
    main()
