"""The expected best of n trials, by hand, by simulation and on a made run."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from made_run import MadeTrial, made_run
from optuna.distributions import FloatDistribution

import results
from results.budget_curve import budget_curve, expected_best

LR = {"lr": FloatDistribution(1e-4, 1.0, log=True)}


@pytest.mark.parametrize("values", [[0.3, 0.1, 0.2, 0.2, 0.9], [0.5], [0.4, 0.4, 0.4]])
def test_it_is_the_mean_of_the_largest_over_all_subsets(values: list[float]) -> None:
    expected = [np.mean([max(each) for each in combinations(values, n)]) for n in range(1, len(values) + 1)]
    assert expected_best(values) == pytest.approx(expected)


def test_it_is_unbiased_where_drawing_with_replacement_is_too_low() -> None:
    random = np.random.default_rng(0)
    draws = random.random((3000, 10))
    unbiased = np.mean([expected_best(each)[7] for each in draws])
    ranks = np.arange(11) / 10
    with_replacement = (np.sort(draws, axis=1) * np.diff(ranks**8)).sum(1).mean()
    assert unbiased == pytest.approx(8 / 9, abs=0.003)  # of 8 uniform values
    assert with_replacement < 8 / 9 - 0.01


def test_many_trials_do_not_overflow() -> None:
    found = expected_best(np.linspace(0, 1, 3000))
    assert found[[0, -1]] == pytest.approx([0.5, 1.0])
    assert (np.diff(found) >= -1e-9).all()


def test_what_is_left_out_as_negligible_changes_no_digit() -> None:
    values = np.sort(np.random.default_rng(0).random(400))
    n, i = 300, np.arange(300, 401)
    chances = [math.comb(int(at) - 1, n - 1) / math.comb(400, n) for at in i]
    assert expected_best(values)[n - 1] == pytest.approx(np.dot(chances, values[i - 1]), rel=1e-11)
    assert expected_best(values)[0] == pytest.approx(values.mean(), rel=1e-11)


def test_a_runs_curve_starts_at_the_mean_and_ends_at_the_best_and_at_its_cost(tmp_path: Path) -> None:
    trials = [MadeTrial({"lr": 0.1}, [top / 2, top]) for top in (0.4, 0.7)] + [
        MadeTrial({"lr": 0.2}, [0.1], "stopped", "rung 1"),
        MadeTrial({"lr": 0.3}, [0.9], "diverged"),
    ]
    table = budget_curve(made_run(tmp_path / "run", trials, LR))
    # The diverged trial found nothing: it stands with the lowest.
    assert table["expected_best"].tolist() == pytest.approx(
        [np.mean([0.4, 0.7, 0.1, 0.1]), (3 * 0.7 + 2 * 0.4 + 0.1) / 6, (3 * 0.7 + 0.4) / 4, 0.7]
    )
    assert table["epochs"].tolist() == [1.5, 3, 4.5, 6]
    assert table["seconds"].iloc[-1] == pytest.approx(60)
    assert table.index.tolist() == [1, 2, 3, 4]


def test_where_smaller_is_better_the_curve_falls(tmp_path: Path) -> None:
    trials = [MadeTrial({"lr": 0.1}, [0.5], val_loss=loss) for loss in (3.0, 1.0, 2.0)]
    metric = {"name": "loss", "mode": "min", "format": "{:.4f}"}
    table = budget_curve(made_run(tmp_path / "run", trials, LR, metric=metric))
    assert table["expected_best"].tolist() == pytest.approx([2.0, (1 + 1 + 2) / 3, 1.0])


def test_a_run_without_a_value_has_an_empty_curve(tmp_path: Path) -> None:
    assert results.load_run(made_run(tmp_path / "run", [MadeTrial({"lr": 0.1})], LR).path).trials.shape[0] == 1
    assert budget_curve(results.load_run(tmp_path / "run")).empty
