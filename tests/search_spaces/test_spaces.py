import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from search_spaces import SPACES, Fields, SpaceError, contains, draw, draw_known, draws, hyperparameters, in_words
from search_spaces import components as components
from study.recipe import BASELINE, RECIPES
from study.search.problem import SearchProblem


@pytest.fixture
def trial() -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()


@pytest.mark.parametrize("name", SPACES)
def test_every_draw_of_every_space_is_a_recipe_whose_drawn_fields_all_mean_something(name: str) -> None:
    for each in draws(SPACES[name], 200, seed=1):
        fields, drawn = each.fields, each.params
        recipe = BASELINE.with_fields(fields)
        assert set(drawn) <= set(fields)
        assert not set(recipe.unused_fields()) & set(drawn)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_space_gives_every_named_recipe_as_trial_0(name: str, recipe: str) -> None:
    base = RECIPES[recipe]
    found = draw_known(SPACES[name], base.as_dict())
    assert base.with_fields(found.fields) == base
    assert all(contains(found.distributions[param], value) for param, value in found.params.items())
    assert all(base.as_dict()[param] == value for param, value in found.params.items())


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_space_passes_the_check_at_start_around_every_named_recipe(
    name: str, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.search.problem.require_weights", lambda recipe: None)
    SearchProblem(SPACES[name], name, RECIPES[recipe], 10, seed=0).check()


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_searched_with_flip_fixed_at_none(name: str) -> None:
    found = draws(SPACES[name], 20, fixed={"flip": "none"})
    assert {each.fields.get("flip", "none") for each in found} == {"none"}


def test_light_augmentation_draws_the_flips_that_it_is_given(trial: optuna.Trial) -> None:
    assert components.light_augmentation(trial, flip=("none",))["flip"] == "none"
    assert trial.distributions["flip"] == optuna.distributions.CategoricalDistribution(("none",))


def test_cnn_wide_draws_what_recorded_tables_are_made_of() -> None:
    assert draws(SPACES["cnn-wide"], 1, seed=0)[0].params == {
        "lr": 0.016736202674410273,
        "momentum": 0.9287340859470354,
        "weight_decay": 0.0006027633760716439,
        "batch_size": 128,
        "channels": "16-32",
        "padding": "same",
        "hidden": "128",
        "dropout": 0.034851719880616285,
        "label_smoothing": 0.004043679488065144,
        "schedule": "one_cycle",
        "flip": "none",
        "translate": 2,
        "cutout": 8,
    }


@pytest.mark.parametrize("name", SPACES)
def test_every_space_follows_optuna_s_own_sampler(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5), direction="maximize")
    study.optimize(lambda trial: BASELINE.with_fields(SPACES[name](trial)).lr, n_trials=25)
    assert len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 25


def test_the_full_space_has_every_hyperparameter_of_every_other_one_but_the_fast_family_s_fixed_ones() -> None:
    full = set(hyperparameters(SPACES["full"]))
    for name, space in SPACES.items():
        assert set(hyperparameters(space)) <= full, name


def test_a_hyperparameter_is_drawn_only_in_its_branch() -> None:
    for each in draws(SPACES["optimizers"], 200):
        fields, drawn = each.fields, each.params
        assert ("beta1" in drawn) == (fields["optimizer"] in ("adam", "adamw"))
        assert ("momentum" in drawn) == (fields["optimizer"] in ("sgd", "nesterov", "rmsprop"))
        assert ("gamma" in drawn) == (fields["schedule"] == "step")


def test_the_same_seed_draws_the_same() -> None:
    assert draws(SPACES["full"], 5, seed=3) == draws(SPACES["full"], 5, seed=3) != draws(SPACES["full"], 5, seed=4)


def conditional(trial: optuna.Trial) -> Fields:
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        return {"optimizer": "sgd", "lr": trial.suggest_float("lr", 0.01, 1.0, log=True)}
    return {
        "optimizer": "adam",
        "lr": trial.suggest_float("lr", 1e-4, 0.1, log=True),
        "batch_size": trial.suggest_int("batch_size", 32, 128, step=32),
    }


def test_hyperparameters_of_all_branches_are_found_and_a_range_that_depends_on_the_branch_is_given_whole() -> None:
    assert hyperparameters(conditional) == {
        "optimizer": optuna.distributions.CategoricalDistribution(["sgd", "adam"]),
        "lr": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        "batch_size": optuna.distributions.IntDistribution(32, 128, step=32),
    }


def test_a_hyperparameter_that_is_drawn_in_two_ways_is_refused() -> None:
    def space(trial: optuna.Trial) -> Fields:
        flip = trial.suggest_categorical("flip", ["none", "random"])
        return {"flip": flip, "translate": trial.suggest_int("translate", 0, 4, step=1 if flip == "none" else 2)}

    with pytest.raises(SpaceError, match=r"translate is drawn from .*0 to 4 by 2"):
        hyperparameters(space)


def test_a_pinned_hyperparameter_keeps_its_value_and_its_branch_is_followed(trial: optuna.Trial) -> None:
    found = draw(conditional, trial, {"optimizer": "adam", "batch_size": 64})
    assert found.fields["optimizer"] == "adam"
    assert found.fields["batch_size"] == 64
    assert found.params.keys() == trial.params.keys() == {"lr"}


def test_a_pinned_model_leaves_only_its_own_hyperparameters() -> None:
    found = hyperparameters(SPACES["full"], {"model": "resnet18"})
    assert "pretrained" in found
    assert not {"model", "channels", "hidden", "whitening", "dropout"} & set(found)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"optimizer": "rmsprop"}, "optimizer is fixed at 'rmsprop', but the space draws it from sgd, adam"),
        ({"optimizer": "sgd", "lr": 2.0}, "lr is fixed at 2.0, but the space draws it from 0.01 to 1, logarithmic"),
        ({"optimizer": "adam", "batch_size": 48}, "batch_size is fixed at 48, .* from 32 to 128 by 32"),
    ],
)
def test_a_value_outside_the_range_is_refused_with_both_named(fixed: Fields, message: str, trial: optuna.Trial) -> None:
    with pytest.raises(SpaceError, match=message):
        draw(conditional, trial, fixed)


def test_a_fixed_field_replaces_what_the_space_sets_without_drawing_it(trial: optuna.Trial) -> None:
    found = draw(SPACES["fast"], trial, {"momentum": 0.5, "flip": "none"})
    assert (found.fields["momentum"], found.fields["flip"]) == (0.5, "none")


def test_a_field_that_the_space_leaves_alone_may_be_pinned(trial: optuna.Trial) -> None:
    found = hyperparameters(SPACES["augmentation"])
    assert draw(SPACES["augmentation"], trial, {"lr": 0.5}).fields.keys() == found.keys()


def test_a_space_that_raises_or_returns_nothing_is_refused_in_one_line(trial: optuna.Trial) -> None:
    with pytest.raises(SpaceError, match="raised ZeroDivisionError: division by zero"):
        draw(lambda trial: {"lr": 1 / 0}, trial)
    with pytest.raises(SpaceError, match="returned None"):
        draw(lambda trial: None, trial)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("distribution", "inside", "outside", "words"),
    [
        (optuna.distributions.FloatDistribution(0.0, 0.4, step=0.1), 0.3, 0.35, "0 to 0.4 by 0.1"),
        (optuna.distributions.FloatDistribution(1e-3, 0.1, log=True), 0.001, 0.2, "0.001 to 0.1, logarithmic"),
        (optuna.distributions.IntDistribution(0, 4), 4, 5, "0 to 4"),
        (optuna.distributions.IntDistribution(0, 4), 1, True, "0 to 4"),
        (optuna.distributions.CategoricalDistribution([False, True]), True, 1, "False, True"),
    ],
)
def test_a_range_knows_its_values_and_reads_well(
    distribution: optuna.distributions.BaseDistribution, inside: object, outside: object, words: str
) -> None:
    assert contains(distribution, inside)
    assert not contains(distribution, outside)
    assert in_words(distribution) == words


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "search_spaces", *arguments], check=False, capture_output=True, text=True, timeout=60
    )


def test_the_command_lists_every_space_with_its_hyperparameters() -> None:
    finished = run()
    assert finished.returncode == 0
    for name, space in SPACES.items():
        assert f"--space {name}" in finished.stdout
        assert all(name in finished.stdout for name in hyperparameters(space))
    assert max(map(len, finished.stdout.splitlines())) <= 160


def test_the_command_shows_draws_of_any_space(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def space(trial):\n    return {'lr': trial.suggest_float('lr', 0.5, 0.5)}\n")
    finished = run("--show", f"{tmp_path / 'mine.py'}:space", "--samples", "3")
    assert finished.returncode == 0
    lines = finished.stdout.splitlines()
    assert any("lr" in line and line.count("0.5") == 3 for line in lines)


def test_the_command_shows_priors_with_their_sources_and_what_is_drawn_under_other_names(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from search_spaces import with_priors\nfrom search_spaces.priors import NormalPrior\n"
        "@with_priors(exponent=NormalPrior(centre=-2, spread=1, source='my notes'))\n"
        "def space(trial):\n    return {'lr': 10.0 ** trial.suggest_int('exponent', -3, -1)}\n"
    )
    finished = run("--show", f"{tmp_path / 'mine.py'}:space", "--samples", "1")
    assert finished.returncode == 0, finished.stderr
    assert "-2 ± 1" in finished.stdout
    assert "my notes" in finished.stdout
    assert "exponent (drawn)" in finished.stdout


def test_the_command_refuses_a_space_that_is_not_there_without_a_traceback() -> None:
    finished = run("--show", "cnnn")
    assert finished.returncode == 2
    assert "'cnnn' is unknown" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_spaces_are_declarative() -> None:
    code = "import sys, search_spaces; sys.exit(bool({'torch', 'ray', 'study', 'results'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
