from dataclasses import replace

from search_spaces import load
from study.recipe import BASELINE
from study.search.optuna_study import OptunaStudy
from study.search.portfolio import PORTFOLIO, can_draw, starting_points
from study.search.problem import SearchProblem

PROBLEM = SearchProblem(load("cnn-wide"), "cnn-wide", BASELINE, 9, 0)


def test_each_recipe_says_where_it_comes_from_and_is_one() -> None:
    for past in PORTFOLIO:
        assert past.source
        assert BASELINE.with_fields(past.fields).lr == past.fields["lr"]


def test_a_search_starts_from_the_base_recipe_and_then_from_the_portfolio() -> None:
    study = OptunaStudy(replace(PROBLEM, starts=starting_points(PROBLEM, 2)))
    for number in range(3):
        suggestion = study.ask()
        assert suggestion is not None
        study.apply(suggestion.started())
        expected = {} if number == 0 else PORTFOLIO[number - 1].fields
        assert suggestion.recipe == BASELINE.with_fields({**expected, "epochs": 9, "seed": suggestion.recipe.seed})
        assert study.study().trials[number].params.items() >= expected.items()


def test_a_recipe_that_the_space_cannot_draw_is_left_out() -> None:
    assert starting_points(replace(PROBLEM, space=load("cnn")), 3) == []
    assert not can_draw(PROBLEM, {**PORTFOLIO[0].fields, "lr": 5.0})
    assert not can_draw(PROBLEM, {**PORTFOLIO[0].fields, "optimizer": "adam"})
    assert can_draw(PROBLEM, PORTFOLIO[0].fields)
