import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from search_spaces import SPACES, SpaceError, knobs, load
from study.recipe import BASELINE


@pytest.mark.parametrize("name", SPACES)
def test_every_draw_of_every_space_is_a_recipe(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(200):
        trial = study.ask()
        fields = SPACES[name](trial)
        recipe = BASELINE.with_fields(fields)
        assert set(trial.params) <= set(fields)
        assert not set(recipe.meaningless()) & set(trial.params)


@pytest.mark.parametrize("name", SPACES)
def test_the_baseline_lies_inside_every_range(name: str) -> None:
    for field, distribution in knobs(SPACES[name]).items():
        value = getattr(BASELINE, field)
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            assert value in distribution.choices
        else:
            assert distribution.low <= value <= distribution.high


def test_a_space_of_ones_own_is_a_function_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def space(trial):\n    return {'lr': trial.suggest_float('lr', 0.01, 0.1)}\n")
    assert set(knobs(load(f"{file}:space"))) == {"lr"}


def test_a_space_may_come_from_a_package() -> None:
    assert load("search_spaces.sgd:sgd") is SPACES["sgd"]


@pytest.mark.parametrize(
    ("name", "word"),
    [("cnnn", "cnn"), ("nowhere.py:space", "no such file"), ("os.path:space", "no function"), ("not.there:space", "imported")],
)
def test_a_space_that_is_not_there_is_refused_in_one_line(name: str, word: str) -> None:
    with pytest.raises(SpaceError, match=word) as error:
        load(name)
    assert "\n" not in str(error.value)


def test_a_file_that_fails_on_import_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('half done')\n")
    with pytest.raises(SpaceError, match="half done"):
        load(f"{tmp_path / 'broken.py'}:space")


def test_spaces_are_declarative() -> None:
    code = "import sys, search_spaces; sys.exit(bool({'torch', 'ray', 'study', 'results'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
