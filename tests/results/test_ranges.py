"""Ranges of a large search."""

from pathlib import Path

import numpy as np
from made_run import MadeTrial, made_run
from optuna.distributions import FloatDistribution

from results.ranges import moves


def test_a_range_is_judged_by_thousands_of_leaders(tmp_path: Path) -> None:
    """1,200 leaders, of which 1,200 choose half: more combinations than a float can hold."""
    random = np.random.default_rng(0)
    rates = 10 ** random.uniform(-3, -1, 6_000)
    rates[1] = 0.0999
    trials = [MadeTrial({"lr": float(lr)}, [0.5 + float(lr)]) for lr in rates]
    found = moves(made_run(tmp_path / "run", trials, {"lr": FloatDistribution(1e-3, 1e-1, log=True)}))
    assert [(move.hyperparameter, move.kind) for move in found] == [("lr", "edge")]


def test_leaders_all_over_the_range_move_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    trials = [MadeTrial({"lr": float(10 ** random.uniform(-3, -1))}, [float(random.random())]) for _ in range(6_000)]
    assert moves(made_run(tmp_path / "run", trials, {"lr": FloatDistribution(1e-3, 1e-1, log=True)})) == []


def test_trials_that_are_all_equal_have_no_leaders_and_move_nothing(tmp_path: Path) -> None:
    space = {"lr": FloatDistribution(1e-3, 1e-1, log=True)}
    rates = np.geomspace(1e-3, 1e-1, 12)
    equal = [MadeTrial({"lr": float(lr)}, [0.1] * 9) for lr in rates]
    assert moves(made_run(tmp_path / "equal", equal, space)) == []
    better = [MadeTrial({"lr": float(lr)}, [0.1 + 0.001 * (at < 3)] * 9) for at, lr in enumerate(rates)]
    assert [move.kind for move in moves(made_run(tmp_path / "better", better, space))] == ["edge"]
