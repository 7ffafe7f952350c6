import json
from pathlib import Path

import pytest

from study.errors import RecipeError
from study.recipe import BASELINE, RECIPES, Recipe, load_recipe


def test_a_recipe_that_names_no_field_is_the_published_baseline() -> None:
    assert Recipe() == BASELINE
    assert (BASELINE.optimizer, BASELINE.lr, BASELINE.momentum, BASELINE.epochs) == ("sgd", 0.001, 0.9, 30)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", -0.1),
        ("lr", 0),
        ("lr", float("nan")),
        ("lr", "0.1"),
        ("batch_size", 32.0),
        ("batch_size", True),
        ("model", "lenet"),
        ("channels", "16,32"),
        ("channels", "0-32"),
        ("batch_norm", 1),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_refused_with_field_value_and_what_is_allowed(field: str, value: object) -> None:
    with pytest.raises(RecipeError) as error:
        BASELINE.with_fields({field: value})
    assert repr(field) in str(error.value)
    assert repr(value) in str(error.value)
    assert "allowed" in str(error.value)


def test_a_misspelt_field_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(RecipeError, match="did you mean 'momentum'"):
        BASELINE.with_fields({"momentun": 0.9})


def test_a_field_that_only_other_families_use_is_named_as_unused() -> None:
    assert set(BASELINE.unused_fields()) == {"whitening", "pretrained", "beta1", "beta2", "gamma"}


def test_a_recipe_survives_json(tmp_path: Path) -> None:
    for recipe in RECIPES.values():
        (tmp_path / "best.json").write_text(json.dumps({"recipe": recipe.as_dict(), "trial": 3}))
        assert load_recipe(str(tmp_path / "best.json")) == recipe


def test_a_recipe_file_of_fields_alone_starts_from_the_baseline(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"lr": 0.01}')
    assert load_recipe(str(tmp_path / "mine.json")) == BASELINE.with_fields({"lr": 0.01})


@pytest.mark.parametrize("content", ["", "[1]", '{"lr": 0}', '{"learning_rate": 1}', '{"recipe": 3}'])
def test_a_recipe_file_that_cannot_be_used_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(RecipeError, match=r"mine\.json"):
        load_recipe(str(tmp_path / "mine.json"))


def test_a_recipe_that_is_neither_a_name_nor_a_file_is_refused_with_the_names() -> None:
    with pytest.raises(RecipeError, match="tutorial"):
        load_recipe("no-such-recipe")
