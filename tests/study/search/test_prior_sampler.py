from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from results.events import EpochFinished, TrialEnded
from search_spaces.priors import LogNormalPrior, with_priors
from study.recipe import BASELINE
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem


def two(trial: Any) -> dict[str, Any]:
    return {
        "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True),
        "flip": trial.suggest_categorical("flip", ["none", "random"]),
    }


def search(space: Any, trials: int, seed: int, accuracy: Callable[[float], float]) -> list[float]:
    """The learning rates of a search in which only they matter."""
    study = OptunaStudy(SearchProblem(space, "two", BASELINE, 1, seed, sampler="prior"))
    found = []
    for number in range(trials):
        suggestion = study.ask()
        assert suggestion is not None
        study.apply(suggestion.started())
        found.append(suggestion.recipe.lr)
        metrics = {"val_accuracy": accuracy(suggestion.recipe.lr)}
        study.apply(EpochFinished(number=number, epoch=1, metrics=metrics, seconds=1.0, time_total_s=1.0))
        study.apply(TrialEnded(number=number, status="completed", reason=None))
    return found


def near(goal: float) -> Callable[[float], float]:
    return lambda lr: 1 - abs(np.log10(lr / goal)) / 4


def hits(found: list[float], goal: float) -> float:
    """The share of trials within a factor of two of `goal`; 15% of the range."""
    return float(np.mean([goal / 2 <= lr <= goal * 2 for lr in found]))


@pytest.fixture(scope="module")
def right() -> Any:
    return with_priors(lr=LogNormalPrior(centre=0.05, factor=1.5, source="a test"))(two)


@pytest.fixture(scope="module")
def wrong() -> Any:
    return with_priors(lr=LogNormalPrior(centre=2e-4, factor=1.5, source="a test"))(two)


def test_the_first_trials_come_mostly_from_the_priors(right: Any) -> None:
    first = [lr for seed in range(20) for lr in search(right, 4, seed, near(0.05))[1:]]
    assert 0.45 < hits(first, 0.05) < 0.85  # a third is uniform


def test_the_best_trials_are_changed_a_little_where_no_prior_leads_there(wrong: Any) -> None:
    late = [lr for seed in range(10) for lr in search(wrong, 40, seed, near(0.05))[20:]]
    assert hits(late, 0.05) > 0.3  # 15% by chance alone


def test_misleading_priors_are_dropped_and_good_ones_kept(right: Any, wrong: Any) -> None:
    misled = [lr for seed in range(10) for lr in search(wrong, 25, seed, near(0.05))[10:]]
    led = [lr for seed in range(10) for lr in search(right, 25, seed, near(0.05))[10:]]
    assert hits(misled, 2e-4) < 0.25
    assert hits(led, 0.05) > 0.5


def test_a_suggestion_costs_no_more_after_many_trials(right: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()
    density = LogNormalPrior.log_density
    monkeypatch.setattr(LogNormalPrior, "log_density", lambda self, *args: (calls.append("x"), density(self, *args))[1])
    search(right, 60, 0, near(0.05))
    in_all = len(calls)
    assert in_all <= 60 * 24
