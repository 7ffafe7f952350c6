"""A study is a draw as well: what several studies of the same question, with other seeds and splits, agree on.

summary = results.replicates(results.load_runs("runs/repeated"))
summary.scores, summary.spread, summary.choices
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.formatting import word
from results.run import Run

SCORES = ("difference", "winner", "baseline")


@dataclass(frozen=True, eq=False)
class Replicates:
    """What repeated studies gave.

    Attributes:
        scores: one row a study. Index `run` (str, the path). Columns `difference`, `winner`, `baseline` (test
            accuracies, means over seeds, fractions) and `verdict` (str).
        spread: index `score` (difference, winner, baseline). Columns `studies` (int64), `median`, `low`, `high` (the
            smallest and the largest), `standard_deviation` (fractions; the last NaN with one study).
        choices: how often each value of a hyperparameter won. Index `hyperparameter`, `value` (str), the most frequent
            first. Columns `studies` (int64) and `share` (of all studies).
        ranges: hyperparameters with numbers. Index `hyperparameter`. Columns `median`, `low`, `high` over winners.
    """

    scores: pd.DataFrame
    spread: pd.DataFrame
    choices: pd.DataFrame
    ranges: pd.DataFrame

    def sentence(self) -> str:
        """In words: the median gain, its range, how many studies say better, and which choices came back."""
        row = self.spread.loc["difference"]
        better = int((self.scores["verdict"] == "better").sum())
        low, median, high = (f"{100 * row[name]:+.2f}" for name in ("low", "median", "high"))
        return (
            f"Replicates: over {len(self.scores)} studies the winner's gain on the test set is {median} points in the "
            f'median ({low} to {high}); {better} say "better".{self._in_words()}'
        )

    def _in_words(self) -> str:
        """What won most often, of each hyperparameter that is a choice, and the range of each number."""
        if len(self.scores) < 2:
            return ""
        said = [
            f"{name} {value} in {row['studies']:.0f}"
            for name in self.choices.index.unique("hyperparameter")
            if name not in self.ranges.index
            for value, row in self.choices.loc[[name]].droplevel("hyperparameter").head(1).iterrows()
        ]
        said += [f"{name} {word(row['low'])} to {word(row['high'])}" for name, row in self.ranges.iterrows()]
        return f" Chosen: {', '.join(said)}." if said else ""


def replicates(runs: Sequence[Run]) -> Replicates:
    """Compares repeated studies of one question.

    Raises:
        ValueError: no run has a final evaluation of winner and baseline.
    """
    finished = [
        (run, run.final) for run in runs if run.final is not None and {"winner", "baseline"} <= run.final.keys()
    ]
    if not finished:
        raise ValueError("none of these runs has evaluated a winner and a baseline")
    scores = pd.DataFrame([_scores(*each) for each in finished]).set_index("run")
    spread = scores[list(SCORES)].agg(["count", "median", "min", "max", "std"]).T
    spread.columns = pd.Index(["studies", "median", "low", "high", "standard_deviation"])
    winners = pd.DataFrame([_chosen(*each) for each in finished])
    numbers = winners.select_dtypes("number").astype("float64")
    ranges = numbers.agg(["median", "min", "max"]).T if len(numbers.columns) else pd.DataFrame(columns=range(3))
    ranges.columns = pd.Index(["median", "low", "high"])
    return Replicates(
        scores,
        spread.astype({"studies": "int64"}).rename_axis("score"),
        _choices(winners),
        ranges.rename_axis("hyperparameter"),
    )


def of_run(run: Run) -> Replicates | None:
    """The study and those of `--replicates` together; None where none of these has come to its verdict."""
    if not any(each.final for each in run.replicates):
        return None
    return replicates([run, *run.replicates])


def _scores(run: Run, final: Mapping[str, Any]) -> dict[str, Any]:
    winner, baseline = (
        sum(each["accuracy"] for each in final[role]["seeds"]) / len(final[role]["seeds"])
        for role in ("winner", "baseline")
    )
    scores = {"difference": winner - baseline, "winner": winner, "baseline": baseline}
    return {"run": str(run.path), **scores, "verdict": final["verdict"]}


def _chosen(run: Run, final: Mapping[str, Any]) -> dict[str, Any]:
    """The winner's values of what the space varies."""
    recipe = final["winner"]["recipe"]
    return {name: recipe[name] for name in run.hyperparameters if name in recipe}


def _choices(winners: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"hyperparameter": name, "value": str(value), "studies": int(count), "share": count / len(winners)}
        for name, values in winners.items()
        for value, count in values.value_counts().items()
    ]
    columns = {"hyperparameter": "str", "value": "str", "studies": "int64", "share": "float64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns).set_index(["hyperparameter", "value"])
