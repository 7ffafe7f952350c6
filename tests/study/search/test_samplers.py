from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, QMCSampler, TPESampler

from results.events import EpochFinished, TrialEnded
from search_spaces import load
from study.recipe import BASELINE
from study.search.optuna_study import OptunaStudy, Suggestion
from study.search.problem import SearchProblem
from study.search.samplers import SAMPLERS


def problem(sampler: str, **changes: Any) -> SearchProblem:
    return SearchProblem(load("full"), "full", BASELINE, 9, 5, sampler=sampler, **changes)


def search(searched: SearchProblem, trials: int) -> list[Suggestion]:
    """Trials of one epoch, whose accuracy is the larger the nearer lr is to 0.01."""
    study, found = OptunaStudy(searched), []
    for number in range(trials):
        suggestion = study.ask()
        assert suggestion is not None
        found.append(suggestion)
        study.apply(suggestion.started())
        accuracy = 0.5 - abs(suggestion.recipe.lr - 0.01)
        metrics = {"val_accuracy": accuracy}
        study.apply(EpochFinished(number=number, epoch=9, metrics=metrics, seconds=1.0, time_total_s=1.0))
        study.apply(TrialEnded(number=number, status="completed", reason=None))
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_suggestion_depends_on_the_seed_and_on_what_is_known_only(name: str) -> None:
    one, again = search(problem(name), 14), search(problem(name), 14)
    assert [each.recipe for each in one] == [each.recipe for each in again]
    other = search(SearchProblem(load("full"), "full", BASELINE, 9, 6, sampler=name), 14)
    assert [each.draw.fields for each in one[1:]] != [each.draw.fields for each in other[1:]]


def test_tpe_is_random_for_as_many_trials_as_the_problem_says() -> None:
    random, late, early = (
        [each.draw.fields for each in search(searched, 12)]
        for searched in (problem("random"), problem("tpe", n_startup=12), problem("tpe", n_startup=4))
    )
    assert late == random
    assert early[:4] == random[:4]
    assert early[5:] != random[5:]


def test_tpe_has_the_same_options_in_every_version_of_optuna() -> None:
    sampler = SAMPLERS["tpe"](0, problem("tpe", n_startup=7))
    assert isinstance(sampler, TPESampler)
    assert (sampler._multivariate, sampler._group, sampler._constant_liar) == (True, True, True)
    assert (sampler._n_startup_trials, sampler._n_ei_candidates) == (7, 24)


def test_hyperparameters_of_a_branch_are_modelled_jointly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `group` they would be drawn one by one, as no trial of another branch has them."""
    alone = set[str]()
    independent = TPESampler.sample_independent

    def noted(self: TPESampler, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        alone.add(name)
        return independent(self, study, trial, name, distribution)

    search(problem("tpe"), 40)
    monkeypatch.setattr(TPESampler, "sample_independent", noted)
    study = OptunaStudy(problem("tpe"))
    for suggestion in search(problem("tpe"), 40):
        study.apply(suggestion.started())
        metrics = {"val_accuracy": 0.5}
        study.apply(EpochFinished(number=suggestion.number, epoch=9, metrics=metrics, seconds=1.0, time_total_s=1.0))
        study.apply(TrialEnded(number=suggestion.number, status="completed", reason=None))
    alone.clear()
    assert study.ask() is not None
    assert alone == set()


def test_a_sampler_is_added_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def grid(seed: int, problem: SearchProblem) -> BaseSampler:
        return QMCSampler(qmc_type="halton", seed=problem.seed)

    monkeypatch.setitem(SAMPLERS, "halton", grid)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        found = search(problem("halton"), 5)
    assert len({each.recipe.lr for each in found}) == 5
