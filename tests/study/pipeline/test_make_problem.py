"""From settings to what a search varies."""

import json
from pathlib import Path
from typing import Any

import pytest

from results.events import TrialStarted
from study.config import StudyConfig
from study.errors import UsageError
from study.pipeline.make_problem import make_problem, sample_recipes
from study.recipe import BASELINE
from study.search.optuna_study import OptunaStudy


def test_the_recipes_after_the_first_are_the_trials_after_trial_0(tmp_path: Path) -> None:
    files = []
    for lr in (0.02, 0.05):
        files.append(tmp_path / f"{lr}.json")
        files[-1].write_text(json.dumps(BASELINE.with_fields({"lr": lr, "momentum": 0.8}).as_dict()))
    problem = make_problem(StudyConfig(space="sgd", recipe=["baseline", *map(str, files)], seed=3))
    study = OptunaStudy(problem)
    rates = []
    for _ in range(4):
        suggestion = study.ask()
        assert suggestion is not None
        started = suggestion.started()
        assert isinstance(started, TrialStarted)
        rates.append(suggestion.recipe.lr)
        study.apply(started)
    assert rates[:3] == [BASELINE.lr, 0.02, 0.05]
    assert rates[3] not in rates[:3]


def test_a_scheduler_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"--scheduler is 'bohb'; allowed: .*asha"):
        make_problem(StudyConfig(space="sgd", scheduler="bohb"))


def test_a_fixed_field_takes_the_place_of_what_the_space_sets() -> None:
    def small(trial: Any) -> dict[str, Any]:
        return {"lr": trial.suggest_float("lr", 1e-3, 0.2, log=True), "hidden": "32"}

    problem = make_problem(StudyConfig(space=small, fix={"hidden": "64"}))
    assert {recipe.hidden for recipe in [problem.base, *sample_recipes(problem, 5)]} == {"64"}
