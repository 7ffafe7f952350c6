"""The proposed next space: a file that --space accepts, with the ranges that should move moved."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from made_run import SOUND_HYPERPARAMETERS as HYPERPARAMETERS
from made_run import MadeTrial, failing, made_run, sound
from optuna.distributions import FloatDistribution

import results
import search_spaces
from results.formatting import on_one_line

CONDITIONAL = """
def space(trial):
    fields = {"optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam"])}
    if fields["optimizer"] == "sgd":
        return fields | {"lr": trial.suggest_float("lr", 1e-2, 1e-1, log=True)}
    return fields | {"lr": trial.suggest_float("lr", 1e-3, 1e-2, log=True)}
"""
PLAIN = """
def space(trial):
    return {
        "lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
    }
"""


def propose(
    folder: Path, trials: list[MadeTrial], space: str = PLAIN, ranges: Any = HYPERPARAMETERS
) -> search_spaces.Space:
    (folder / "mine.py").write_text(space)
    run = made_run(folder / "made", trials, ranges, space=f"{folder / 'mine.py'}:space")
    (folder / "next.py").write_text(results.next_space(run))
    return search_spaces.load(f"{folder / 'next.py'}:space")


def test_an_edge_is_moved_outwards_and_all_else_stays(tmp_path: Path) -> None:
    drawn = search_spaces.hyperparameters(propose(tmp_path, sound(1.0)))
    assert drawn == {**HYPERPARAMETERS, "lr": FloatDistribution(1e-3, 0.464, log=True)}


def test_a_range_that_fails_is_left_out(tmp_path: Path) -> None:
    drawn = search_spaces.hyperparameters(propose(tmp_path, failing(sound(), [35, 36, 37, 38, 39])))
    assert drawn["lr"] == FloatDistribution(1e-3, 0.0588, log=True)


def test_a_choice_that_fails_is_left_out(tmp_path: Path) -> None:
    numbers = [number for number, trial in enumerate(sound()) if trial.config["batch_size"] == 128]
    drawn = search_spaces.hyperparameters(propose(tmp_path, failing(sound(), numbers)))
    assert drawn["batch_size"] == optuna.distributions.CategoricalDistribution([32, 64])


def test_a_study_that_asks_for_nothing_gets_its_space_again(tmp_path: Path) -> None:
    assert search_spaces.hyperparameters(propose(tmp_path, sound())) == HYPERPARAMETERS


def test_only_the_branch_at_the_edge_is_widened(tmp_path: Path) -> None:
    space = propose(tmp_path, sound(1.0), CONDITIONAL, {"lr": HYPERPARAMETERS["lr"]})
    for optimizer, high in (("sgd", 0.464), ("adam", 1e-2)):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()
        search_spaces.draw(space, trial, {"optimizer": optimizer})
        assert trial.distributions["lr"].high == high


@pytest.mark.parametrize("name", sorted(search_spaces.SPACES))
def test_every_space_of_ours_can_be_proposed_from(tmp_path: Path, name: str) -> None:
    ranges = search_spaces.hyperparameters(search_spaces.SPACES[name])
    drawn = search_spaces.draws(search_spaces.SPACES[name], 40)
    trials = [MadeTrial(fields, [0.5 + 0.2 * fields.get("lr", 0)] * 9) for fields in (each.fields for each in drawn)]
    run = made_run(tmp_path / "made", trials, ranges, space=name)
    (tmp_path / "next.py").write_text(results.next_space(run))
    assert set(search_spaces.hyperparameters(search_spaces.load(f"{tmp_path / 'next.py'}:space"))) == set(ranges)


def test_nothing_that_a_run_holds_becomes_code(tmp_path: Path) -> None:
    evil = '"""\nraise SystemExit\n"""\u2028raise SystemExit\r\x0craise SystemExit #'
    trials = [MadeTrial({evil: trial.config["lr"]}, trial.accuracies, trial.status) for trial in sound(1.0)]
    run = made_run(tmp_path / "made", trials, {evil: HYPERPARAMETERS["lr"]}, space="sgd", name=evil)
    names: dict[str, Any] = {}
    exec(results.next_space(run), names)
    assert names["MOVED"] == {on_one_line(evil): ((1e-3, 0.1), (1e-3, 0.464))}


def test_a_run_without_a_space_has_no_next_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="searched no space"):
        results.next_space(made_run(tmp_path / "made", [], {}, space=None, status="running"))
