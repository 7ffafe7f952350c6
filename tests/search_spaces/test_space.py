from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces import (
    Fields,
    SpaceError,
    check,
    configurations,
    draw,
    draw_known,
    draw_with,
    draws,
    hyperparameters,
    load,
    register,
    with_priors,
)
from search_spaces.priors import NormalPrior
from study.recipe import BASELINE

BASE = BASELINE.as_dict()


def study(seed: int = 0) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))


def derived(trial: Any) -> Fields:
    first, second = trial.suggest_int("l1", 32, 128, log=True), trial.suggest_int("l2", 32, 128)
    return {"hidden": f"{first}-{second}", "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True)}


def dropping(trial: Any) -> Fields:
    momentum = trial.suggest_float("momentum", 0.5, 0.9)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    return {"optimizer": optimizer} | ({"momentum": momentum} if optimizer == "sgd" else {})


def test_a_field_may_be_derived_and_optuna_is_told_what_was_drawn() -> None:
    found = draw(derived, study().ask())
    assert found.params.keys() == found.distributions.keys() == {"l1", "l2", "lr"}
    assert found.fields == {"hidden": f"{found.params['l1']}-{found.params['l2']}", "lr": found.params["lr"]}


def test_a_drawn_value_may_be_dropped() -> None:
    found = [each for each in draws(dropping, 20) if each.fields["optimizer"] == "adam"]
    assert found
    assert all(each.fields == {"optimizer": "adam"} and "momentum" in each.params for each in found)


@pytest.mark.parametrize("space", [derived, dropping])
def test_every_draw_is_replayed_from_its_fields_and_params(space: Any) -> None:
    for each in draws(space, 50, seed=3):
        assert draw_known(space, BASE | each.fields, each.params) == each


def test_a_registered_draw_is_what_optuna_s_own_trial_would_be() -> None:
    by_optuna, by_us = study(5), study(5)
    first = draw(derived, by_optuna.ask())
    trial = register(by_us, draw_known(derived, BASE | first.fields, first.params))
    assert trial.params == by_optuna.trials[0].params
    assert trial.distributions == by_optuna.trials[0].distributions


def test_trial_0_is_the_base_recipe_and_optuna_is_told_only_what_agrees_with_it() -> None:
    found = draw_known(derived, BASE)
    assert found.fields == {"hidden": BASE["hidden"], "lr": BASE["lr"]}
    assert found.params == {"lr": BASE["lr"]}


def test_a_name_that_is_no_recipe_field_is_told_where_its_middle_gives_the_recipe() -> None:
    def space(trial: Any) -> Fields:
        return {"lr": 10 ** trial.suggest_float("log_lr", -4.0, -2.0)}

    assert draw_known(space, BASE).params == {"log_lr": -3.0}
    assert draw_known(space, BASE | {"lr": 0.5}).params == {}
    assert draw_known(space, BASE | {"lr": 0.5}).fields == {"lr": 0.5}


@pytest.mark.parametrize(
    ("value", "seen"), [(5e-4, 5e-4), (0.0, 1e-4), (1.0, 1e-2), (float("nan"), 1e-3)], ids=["in", "low", "high", "nan"]
)
def test_a_known_value_outside_the_range_is_seen_as_the_nearest_inside_and_not_told(value: float, seen: float) -> None:
    shown = []

    def space(trial: Any) -> Fields:
        shown.append(trial.suggest_float("weight_decay", 1e-4, 1e-2, log=True))
        return {"weight_decay": shown[0]}

    found = draw_known(space, BASE | {"weight_decay": value})
    assert shown == [pytest.approx(seen)]
    np.testing.assert_equal(found.fields["weight_decay"], value)
    assert found.params == ({"weight_decay": value} if value == seen else {})


@pytest.mark.parametrize(("value", "told"), [(48, False), (64, True), (64.0, True), (True, False), ("64", False)])
def test_a_known_value_between_two_steps_or_of_another_type_is_not_told(value: Any, told: bool) -> None:
    def space(trial: Any) -> Fields:
        size = trial.suggest_int("batch_size", 32, 128, step=32)
        assert size in (32, 64, 96, 128)
        return {"batch_size": size}

    found = draw_known(space, BASE | {"batch_size": value})
    assert found.params == ({"batch_size": 64} if told else {})
    assert found.fields == {"batch_size": value}


def test_an_integer_that_no_float_can_hold_is_a_value_like_any_other() -> None:
    def huge(trial: optuna.Trial) -> dict[str, Any]:
        return {"lr": trial.suggest_float("lr", 0.001, 0.1), "batch_size": 10**400}

    assert draw_known(huge, BASE | {"batch_size": 32}).fields["batch_size"] == 32
    assert draw_known(huge, BASE | {"batch_size": 10**400}).params == {"lr": BASE["lr"]}
    assert draw_known(lambda trial: {"lr": trial.suggest_float("lr", 0.001, 0.1)}, BASE | {"lr": 10**400}).params == {}


def test_ranges_in_a_table_by_optimizer_survive_a_base_recipe_with_another_optimizer() -> None:
    table = {"adam": (1e-4, 1e-2), "adamw": (1e-4, 1e-1)}

    def space(trial: Any) -> Fields:
        optimizer = trial.suggest_categorical("optimizer", list(table))
        return {"optimizer": optimizer, "lr": trial.suggest_float("lr", *table[optimizer], log=True)}

    found = draw_known(space, BASE)
    assert found.fields == {"optimizer": "sgd", "lr": 0.001}
    assert found.params == {"lr": 0.001}
    assert len(check(space, BASE)) == 21


def test_a_space_may_return_the_trial_s_params() -> None:
    def space(trial: Any) -> Fields:
        trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
        trial.suggest_categorical("optimizer", ["adam", "adamw"])
        return dict(trial.params)

    assert draw_known(space, BASE).fields == {"weight_decay": 0.0, "optimizer": "sgd"}
    assert draw(space, study().ask(), {"optimizer": "adamw"}).fields["optimizer"] == "adamw"
    for each in draws(space, 5):
        assert each.fields == each.params


def old_methods(trial: Any) -> Fields:
    return {
        "lr": trial.suggest_loguniform("lr", 1e-3, 0.1),
        "momentum": trial.suggest_uniform("momentum", 0.0, 0.9),
        "dropout": trial.suggest_discrete_uniform("dropout", 0.0, 0.5, 0.1),
        "batch_size": trial.suggest_int("batch_size", 32, 128, 32),
        "translate": trial.suggest_int("translate", 1, 4, log=True),
    }


def test_the_deprecated_methods_work_drawn_fixed_and_known() -> None:
    assert hyperparameters(old_methods) == {
        "lr": FloatDistribution(1e-3, 0.1, log=True),
        "momentum": FloatDistribution(0.0, 0.9),
        "dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "batch_size": IntDistribution(32, 128, step=32),
        "translate": IntDistribution(1, 4, log=True),
    }
    found = draw(old_methods, study().ask(), {"lr": 0.05, "dropout": 0.30000000000000004})
    assert (found.fields["lr"], found.fields["dropout"]) == (0.05, pytest.approx(0.3))
    assert draw_known(old_methods, BASE).params == {
        "lr": 0.001,
        "momentum": 0.9,
        "dropout": 0.0,
        "batch_size": 32,
    }
    with pytest.raises(SpaceError, match=r"lr is fixed at 0\.5, but the space draws it from 0\.001 to 0\.1"):
        draw(old_methods, study().ask(), {"lr": 0.5})


def test_numpy_s_numbers_become_python_s_in_choices_ranges_and_fields() -> None:
    def space(trial: Any) -> Fields:
        size = trial.suggest_categorical("batch_size", 2 ** np.arange(5, 8))
        return {
            "batch_size": size,
            "lr": np.float32(0.5) * trial.suggest_float("lr", np.float64(0.5), np.float64(0.5)),
            "batch_norm": np.bool_(True),
            "translate": trial.suggest_int("translate", np.int64(0), np.int64(4)),
        }

    found = draw(space, study().ask())
    assert found.distributions["batch_size"] == CategoricalDistribution((32, 64, 128))
    assert [type(value) for value in found.fields.values()] == [int, float, bool, int]
    assert [type(value) for value in found.params.values()] == [int, float, int]
    assert draw_known(space, BASE).params["batch_size"] == 32


def test_choices_may_be_tuples_classes_and_arrays_and_optuna_sees_their_names() -> None:
    seen = []

    def space(trial: Any) -> Fields:
        widths = trial.suggest_categorical("widths", ((8, 16), (16, 32)))
        kind = trial.suggest_categorical("kind", [int, float])
        row = trial.suggest_categorical("row", np.array([[1, 2], [3, 4]]))
        seen.append((widths, kind, list(row)))
        return {"channels": "-".join(map(str, widths)), "kernel": 3}

    found = draw(space, study(1).ask())
    assert found.params["widths"] in ("(8, 16)", "(16, 32)")
    assert found.params["kind"] in ("int", "float")
    assert draw_known(space, BASE | found.fields, found.params) == found
    assert seen[0] == seen[1]
    assert isinstance(seen[0][0], tuple)
    assert seen[0][1] in (int, float)


def test_choices_that_read_alike_are_refused() -> None:
    with pytest.raises(SpaceError, match="act has choices that read alike: <lambda>, <lambda>"):
        draw(lambda trial: {"x": trial.suggest_categorical("act", [lambda: 1, lambda: 2])}, study().ask())


def test_a_space_sees_what_an_optuna_trial_has() -> None:
    seen: dict[str, Any] = {}

    def space(trial: Any) -> Fields:
        lr = trial.suggest_float("lr", 0.1, 0.2)
        trial.set_user_attr("note", "mine")
        trial.report(0.5, 1)
        seen.update(
            params=trial.params,
            distributions=trial.distributions,
            number=trial.number,
            user_attrs=trial.user_attrs,
            relative_params=trial.relative_params,
            prune=trial.should_prune(),
            started=trial.datetime_start is not None,
            is_trial=isinstance(trial, optuna.trial.BaseTrial),
        )
        return {"lr": lr}

    expected = {"user_attrs": {"note": "mine"}, "relative_params": {}, "prune": False, "started": True}
    trial = study().ask()
    found = draw(space, trial)
    expected |= {"is_trial": True}
    assert seen == expected | {"params": found.params, "distributions": found.distributions, "number": 0}
    assert trial.user_attrs == {"note": "mine"}
    draw_known(space, BASE | {"lr": 0.15}, number=7)
    assert seen.items() >= (expected | {"params": {"lr": 0.15}, "number": 7}).items()
    draw(space, study().ask(), {"lr": 0.12}, number=3)
    assert seen.items() >= (expected | {"params": {"lr": 0.12}, "number": 3}).items()


def test_values_may_be_chosen_without_an_optuna_trial_each_once() -> None:
    asked = []

    def choose(name: str, distribution: BaseDistribution) -> Any:
        asked.append(name)
        return {"l1": 64, "l2": 32, "lr": 0.1}[name]

    found = draw_with(derived, choose, {"lr": 0.5})
    assert asked == ["l1", "l2"]
    assert found.fields == {"hidden": "64-32", "lr": 0.5}
    assert register(study(), found).params == {"l1": 64, "l2": 32}


def test_an_unknown_name_gets_the_centre_of_the_space_s_own_prior() -> None:
    def space(trial: Any) -> Fields:
        return {"lr": 10 ** trial.suggest_float("log_lr", -4.0, 0.0)}

    assert draw_known(space, BASE).params == {}
    informed = with_priors(log_lr=NormalPrior(centre=-3, spread=1, source="a test"))(space)
    assert draw_known(informed, BASE).params == {"log_lr": -3.0}


def test_one_name_drawn_in_two_ways_in_one_trial_is_refused() -> None:
    def space(trial: Any) -> Fields:
        return {"lr": trial.suggest_float("lr", 0.1, 0.2), "momentum": trial.suggest_float("lr", 0.5, 0.9)}

    with pytest.raises(SpaceError, match=r"lr is drawn twice in one trial, from 0\.1 to 0\.2 and from 0\.5 to 0\.9"):
        draw(space, study().ask())


def test_a_space_is_called_once_for_each_draw() -> None:
    calls = []

    def space(trial: Any) -> Fields:
        calls.append(trial.number)
        return {"lr": trial.suggest_float("lr", 0.1, 0.2)}

    draws(space, 5)
    assert calls == [0, 1, 2, 3, 4]
    draw_known(space, BASE, number=9)
    assert calls[5:] == [9]


def test_an_error_of_the_space_is_its_own_in_one_line_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raising.py").write_text(
        "def space(trial):\n    lr = trial.suggest_float('lr', 0.1, 0.2)\n    raise RuntimeError('first\\nsecond')\n"
        "def backwards(trial):\n    return {'lr': trial.suggest_float('lr', 2.0, 1.0)}\n"
    )
    with pytest.raises(SpaceError, match=r"^the space raised RuntimeError: first second \(raising.py, line 3\)$"):
        draw(load("raising.py:space"), study().ask())
    with pytest.raises(SpaceError, match=r"^the space raised ValueError: .* \(raising.py, line 5\)$") as error:
        draw(load("raising.py:backwards"), study().ask())
    assert "\n" not in str(error.value)


def test_the_check_draws_the_base_recipe_and_the_known_ones() -> None:
    def space(trial: Any) -> Fields:
        lr = trial.suggest_float("lr", 0.001, 1.0)
        if lr in (0.001, 0.25):
            raise RuntimeError("not this one")
        return {"lr": lr}

    with pytest.raises(SpaceError, match="cannot draw the base recipe: the space raised RuntimeError: not this one"):
        check(space, BASE)
    good, bad = BASE | {"lr": 0.5}, BASE | {"lr": 0.25}
    with pytest.raises(SpaceError, match="cannot draw known recipe 1: the space raised RuntimeError"):
        check(space, good, [good, bad])
    found = check(space, good, [good])
    assert len(found) == 22
    assert [each.fields["lr"] for each in found[:2]] == [0.5, 0.5]


def test_the_check_refuses_a_recipe_field_that_is_drawn_and_never_returned() -> None:
    with pytest.raises(SpaceError, match="it draws lr and never returns it"):
        check(lambda trial: {"momentum": 0.0 * trial.suggest_float("lr", 0.1, 1.0)}, BASE)


def discrete(trial: Any) -> Fields:
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "adam":
        return {"optimizer": "adam", "batch_size": trial.suggest_categorical("batch_size", [32, 64])}
    return {
        "optimizer": "sgd",
        "translate": trial.suggest_int("translate", 0, 2),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5, step=0.25),
    }


def test_all_configurations_of_a_discrete_space_are_listed_once() -> None:
    found = configurations(discrete, 100)
    assert found is not None
    assert len(found) == 2 + 3 * 3 == len({tuple(each.fields.items()) for each in found})
    assert {tuple(each.fields.items()) for each in draws(discrete, 300)} == {
        tuple(each.fields.items()) for each in found
    }
    assert len(configurations(discrete, 100, {"optimizer": "adam"}) or []) == 2


def test_configurations_of_a_large_or_continuous_space_are_not_listed() -> None:
    assert configurations(discrete, 10) is None
    assert len(configurations(discrete, 11) or []) == 11
    assert configurations(derived, 10_000) is None
