"""Several studies of one question, and what they agree on."""

from pathlib import Path
from typing import Any

import pytest
from made_run import made_final, made_run
from optuna.distributions import CategoricalDistribution, FloatDistribution

import results
from results.replicates import replicates

KNOBS = {"lr": FloatDistribution(1e-4, 1.0, log=True), "optimizer": CategoricalDistribution(["sgd", "adam"])}


def repeated(path: Path, accuracies: list[float], recipes: list[dict[str, Any]]) -> list[results.Run]:
    runs = []
    for number, (accuracy, recipe) in enumerate(zip(accuracies, recipes, strict=True)):
        final = made_final(0.60, verdict="better" if accuracy > 0.62 else "no evidence")
        winner = {**final["winner"], "recipe": {**final["winner"]["recipe"], **recipe}}
        winner["seeds"] = [{"seed": 1, "accuracy": accuracy - 0.01}, {"seed": 2, "accuracy": accuracy + 0.01}]
        runs.append(made_run(path / str(number), [], KNOBS, final={**final, "winner": winner}))
    return runs


def test_median_spread_and_returning_values_are_counted(tmp_path: Path) -> None:
    recipes = [{"lr": 0.1, "optimizer": "sgd"}, {"lr": 0.3, "optimizer": "sgd"}, {"lr": 0.2, "optimizer": "adam"}]
    found = replicates(repeated(tmp_path, [0.70, 0.61, 0.66], recipes))
    gain = found.spread.loc["difference"]
    assert gain[["studies", "median", "low", "high"]].tolist() == pytest.approx([3, 0.06, 0.01, 0.10])
    assert found.spread.loc["baseline", "standard_deviation"] == 0
    assert found.choices.loc[("optimizer", "sgd")].tolist() == pytest.approx([2, 2 / 3])
    assert found.ranges.loc["lr"].tolist() == pytest.approx([0.2, 0.1, 0.3])
    assert "optimizer" not in found.ranges.index
    assert found.sentence() == (
        "Replicates: over 3 studies the winner's gain on the test set is +6.00 points in the median "
        '(+1.00 to +10.00); 2 say "better". Chosen: optimizer sgd in 2, lr 0.1 to 0.3.'
    )


def test_runs_without_a_final_are_left_out_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    unfinished = made_run(tmp_path / "unfinished", [], KNOBS)
    with pytest.raises(ValueError, match="none of these runs"):
        replicates([unfinished])
    finished = repeated(tmp_path, [0.7], [{"optimizer": "adam"}])
    assert replicates([unfinished, *finished]).scores.index.tolist() == [str(tmp_path / "0")]
