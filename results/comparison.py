"""Runs side by side: what may be compared, and which of their models is better on the same test images."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from results import significance
from results.analysis import leaderboard
from results.run import Run


def compare(runs: Sequence[Run]) -> pd.DataFrame:
    """Runs side by side, each against the first.

    Validation metrics may be compared where `same_split` holds, and `max_epochs` and trials are alike. Test
    accuracies are of the winner (of a baseline run: of its recipe), first seed, each on the same images; the paired
    test speaks of those trained models, not of the searches that found them.

    Returns:
        Index `run` (str, the path). Columns `space`, `dataset`, `status` (str), `same_data`, `same_split`,
        `same_space` (bool, as the first run's), `trials`, `epochs` (int64), `max_epochs` (Int64), `metric` (str),
        `validation` (that metric's value of the best trial), `test_accuracy` (fraction), `difference` (fractions, from
        the first run's test accuracy), `only_this`, `only_first` (Int64, test images that one alone gets right),
        `p_value` (McNemar) and `verdict` ("better", "worse", "no evidence"; missing for the first run, and where
        one of the two has no predictions or they are of other images).

    Raises:
        ValueError: fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError("it takes two runs to compare")
    first = runs[0]
    rows = []
    for run in runs:
        ranked = leaderboard(run)
        rows.append(
            {
                "run": str(run.path),
                "space": run.study["space"],
                "dataset": run.study["dataset"],
                "status": run.status,
                "same_data": run.study["data"]["digest"] == first.study["data"]["digest"],
                "same_split": run.study["data"]["split_digest"] == first.study["data"]["split_digest"],
                "same_space": run.study["knobs"] == first.study["knobs"],
                "trials": len(run.trials),
                "epochs": int(run.trials["epochs"].sum()),
                "max_epochs": run.study.get("max_epochs"),
                "metric": run.metric.name,
                "validation": ranked[run.metric.column].iloc[0] if len(ranked) else math.nan,
                **_test_comparison(run, first),
            }
        )
    table = pd.DataFrame(rows).set_index("run")
    return table.astype({"max_epochs": "Int64", "only_this": "Int64", "only_first": "Int64", "verdict": "str"})


def _test_comparison(run: Run, first: Run) -> dict[str, Any]:
    ours, theirs = _correct(run), _correct(first)
    accuracy = math.nan if ours is None else float(ours.mean())
    found = {"test_accuracy": accuracy, "difference": math.nan, "only_this": pd.NA, "only_first": pd.NA}
    unpaired = {**found, "p_value": math.nan, "verdict": None}
    if run is first or ours is None or theirs is None or not ours.index.equals(theirs.index):
        return unpaired
    test = significance.mcnemar(ours.to_numpy(), theirs.to_numpy())
    difference = accuracy - float(theirs.mean())
    proven = test.p_value < significance.SIGNIFICANCE
    return {
        "test_accuracy": accuracy,
        "difference": difference,
        "only_this": test.only_a,
        "only_first": test.only_b,
        "p_value": test.p_value,
        "verdict": "no evidence" if not proven else "better" if difference > 0 else "worse",
    }


def _correct(run: Run) -> "pd.Series[bool] | None":
    """Whether each test image was classified rightly, by image, label and what the images were."""
    if run.predictions is None:
        return None
    role = "winner" if "winner" in run.predictions else "recipe_under_test"
    if role not in run.predictions:
        return None
    keys = run.predictions[["image", "label"]].assign(data=run.study["data"]["digest"])
    right = run.predictions[role] == run.predictions["label"]
    return right.set_axis(pd.MultiIndex.from_frame(keys))
