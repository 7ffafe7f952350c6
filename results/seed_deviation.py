"""How much another seed moves a recipe's test accuracy: what earlier runs say, by data set and network family.

    python -m results.seed_deviation runs                   # what these runs add, and the table with it
    python -m results.seed_deviation runs --output FILE     # the same, and write the table

The published table, results/seed_deviation.csv, has one row a recipe that was trained from several seeds. A verdict
from one or few seeds pools it with the study's own seeds (results/recipe_comparison.py).
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.run import Run, RunError
from results.run_directory import load_runs

PUBLISHED = Path(__file__).with_name("seed_deviation.csv")
COLUMNS = {
    "dataset": "str",
    "family": "str",
    "epochs": "int64",
    "images": "int64",
    "seeds": "int64",
    "mean": "float64",
    "standard_deviation": "float64",
    "source": "str",
}
# However many runs are pooled, other recipes of a family are not this one: their deviation counts as that of 11 seeds.
MOST_FREEDOM = 10


@dataclass(frozen=True)
class SeedDeviation:
    """The standard deviation of test accuracy between seeds, pooled over recipes of one family on one data set.

    Attributes:
        deviation: a fraction.
        freedom: degrees of freedom that it counts for, at most 10.
        recipes: how many recipes it is pooled from.
    """

    deviation: float
    freedom: int
    recipes: int


def published(table: Path = PUBLISHED) -> pd.DataFrame:
    """The published table: one row a recipe, RangeIndex.

    Columns `dataset`, `family` (the recipe's `model`), `source` (str), `epochs`, `images` (test images), `seeds`
    (int64), `mean` and `standard_deviation` (of test accuracy over seeds, fractions).
    """
    return pd.read_csv(table, dtype=COLUMNS)


def grow_seed_deviations(runs: Iterable[Run], table: pd.DataFrame | None = None) -> pd.DataFrame:
    """`table` (the published one if None) and a row for each recipe that a final in `runs` trained from several seeds.

    Returns:
        As `published`; a row that is there already, from the same source, is not doubled.
    """
    known = published() if table is None else table
    rows = [row for run in runs for row in _rows(run)]
    grown = pd.concat([known, pd.DataFrame(rows, columns=list(COLUMNS))]) if rows else known
    keys = ["dataset", "family", "epochs", "seeds", "source"]
    return grown.astype(COLUMNS).drop_duplicates(keys, keep="last", ignore_index=True)


def pooled(table: pd.DataFrame, dataset: str, family: str) -> SeedDeviation | None:
    """The deviation between seeds that `table` gives for one family on one data set, or None if it has no such row.

    Variances are weighted by their degrees of freedom, seeds - 1, as in a one-way analysis of variance.
    """
    rows = table[(table["dataset"] == dataset) & (table["family"] == family) & (table["seeds"] > 1)]
    if rows.empty:
        return None
    freedom = rows["seeds"] - 1
    variance = float((freedom * rows["standard_deviation"] ** 2).sum() / freedom.sum())
    return SeedDeviation(variance**0.5, min(int(freedom.sum()), MOST_FREEDOM), len(rows))


def _rows(run: Run) -> Iterable[dict[str, Any]]:
    final = run.final or {}
    for role in ("winner", "baseline", "tuned_baseline", "recipe_under_test"):
        side = final.get(role)
        if side is None or len(side["seeds"]) < 2 or "model" not in side["recipe"]:
            continue
        accuracies = np.array([each["accuracy"] for each in side["seeds"]])
        yield {
            "dataset": run.study["dataset"],
            "family": side["recipe"]["model"],
            "epochs": final["final_epochs"],
            "images": side["n"],
            "seeds": len(accuracies),
            "mean": round(float(accuracies.mean()), 6),
            "standard_deviation": round(float(accuracies.std(ddof=1)), 6),
            "source": f"{run.name} {str(run.study['created'])[:10]}, {role.replace('_', ' ')}",
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 with one line where there is no run to read or the file cannot be written."""
    parser = argparse.ArgumentParser(prog="results.seed_deviation", description="Deviations between seeds, from runs.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="a directory of runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there, as CSV")
    asked = parser.parse_args(arguments)
    try:
        table = grow_seed_deviations(load_runs(asked.directory))
        if asked.output is not None:
            table.to_csv(asked.output, index=False)
    except (RunError, OSError) as error:
        print(f"results.seed_deviation: {error}", file=sys.stderr)
        return 2
    print(table.to_string(index=False))
    for dataset, family in table[["dataset", "family"]].drop_duplicates().itertuples(index=False):
        found = pooled(table, dataset, family)
        if found is not None:
            print(f"{dataset}, {family}: {100 * found.deviation:.2f} points, from {found.recipes} recipes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
