from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search_spaces import SpaceError, load
from study.asha import ASHA
from study.recipe import BASELINE
from study.searcher import OptunaSearcher, Question, Suggestion, _as_seen, ask, rebuild, tell

QUESTION = Question(load("cnn"), "cnn", BASELINE, max_epochs=9, seed=5)


def result(epoch: int, accuracy: float) -> dict[str, Any]:
    return {"epoch": epoch, "val_accuracy": accuracy}


class Driven:
    """A searcher and the record that its study could be rebuilt from, driven as Ray Tune drives it."""

    def __init__(self, path: Path, samples: int = 20) -> None:
        self.events: list[dict[str, Any]] = []
        self.study, _ = rebuild(path, QUESTION, [])
        self.asha = ASHA(9, 1, 3, samples)
        self.searcher = OptunaSearcher(
            self.study, QUESTION, self.asha, lambda number: number < samples, [], self._suggested
        )
        self.suggestions: list[Suggestion] = []

    def _suggested(self, suggestion: Suggestion) -> None:
        self.suggestions.append(suggestion)
        self.events.append({"event": "trial", "number": suggestion.number, "config": suggestion.config})

    def run(self, number: int, accuracies: list[float], status: str) -> None:
        identity = f"ray_{number}"
        assert self.searcher.suggest(identity)["number"] == number
        self.asha.begin(number)
        for epoch, accuracy in enumerate(accuracies, 1):
            self.events.append(
                {"event": "epoch", "number": number, "training_iteration": epoch, "val_accuracy": accuracy}
            )
            if epoch < len(accuracies):
                self.searcher.on_trial_result(identity, result(epoch, accuracy))
        if status == "failed":
            self.searcher.on_trial_complete(identity, error=True)
        elif status == "diverged":
            self.searcher.on_trial_complete(identity, {**result(1, float("nan")), "diverged": "loss nan"})
        else:
            self.searcher.on_trial_complete(identity, result(len(accuracies), accuracies[-1]))
        self.asha.end(number)
        if status == "stopped":
            tell(self.study, QUESTION, number, "stopped", None)
        self.events.append({"event": "end", "number": number, "status": status})


def test_trial_0_is_the_baseline_and_optuna_learns_from_it(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db")
    config = driven.searcher.suggest("a")
    seed = config["recipe"]["seed"]
    assert config["recipe"] == BASELINE.with_fields({"epochs": 9, "seed": seed}).as_dict()
    params = driven.study.trials[0].params
    assert params["lr"] == BASELINE.lr
    assert all(getattr(BASELINE, name) == value for name, value in params.items())
    assert {"channels", "schedule", "batch_size"} <= set(params)


def test_a_stopped_trial_is_told_to_optuna_as_pruned_with_its_steps(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db")
    driven.run(0, [0.3, 0.4, 0.5], "stopped")
    stored = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'optuna.db'}").trials[0]
    assert stored.state == TrialState.PRUNED
    assert stored.intermediate_values == {1: 0.3, 2: 0.4, 3: 0.5}


def test_a_whole_trial_is_told_as_complete_with_its_last_accuracy(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db")
    driven.run(0, [0.1 * epoch for epoch in range(1, 10)], "completed")
    stored = driven.study.trials[0]
    assert stored.state == TrialState.COMPLETE
    assert stored.value == pytest.approx(0.9)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_diverged_or_failed_trial_is_told_as_fail(tmp_path: Path, status: str) -> None:
    driven = Driven(tmp_path / "optuna.db")
    driven.run(0, [0.3], status)
    assert driven.study.trials[0].state == TrialState.FAIL


def test_suggestions_end_with_the_last_sample(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db", samples=1)
    assert driven.searcher.suggest("a") != OptunaSearcher.FINISHED
    driven.asha.begin(0)
    assert driven.searcher.suggest("b") is None  # what runs may yet have another one promoted
    driven.searcher.on_trial_complete("a", error=True)
    driven.asha.end(0)
    assert driven.searcher.suggest("b") == OptunaSearcher.FINISHED


def rested(driven: Driven, accuracies: list[float]) -> None:
    """One new trial after the other has an epoch of this accuracy and comes to rest."""
    for number, accuracy in enumerate(accuracies):
        config = driven.searcher.suggest(f"ray_{number}")
        assert config["number"] == number
        driven.asha.begin(number)
        assert not driven.asha.goes_on(number, 1, accuracy)
        driven.searcher.on_trial_complete(f"ray_{number}", result(1, accuracy))


def test_a_promoted_trial_is_handed_out_before_any_new_one(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db")
    rested(driven, [0.5, 0.3, 0.4])
    again = driven.searcher.suggest("promoted")
    assert again["number"] == 0
    assert again["recipe"] == driven.suggestions[0].recipe.as_dict()
    driven.asha.begin(0)
    assert driven.searcher.suggest("new")["number"] == 3
    assert driven.study.trials[0].state == TrialState.RUNNING


def test_tpe_learns_from_trials_that_rest_at_a_rung(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db")
    for number in range(11):
        driven.run(number, [0.3 + 0.01 * number], "stopped")
    config = driven.searcher.suggest("resting")
    driven.asha.begin(11)
    assert not driven.asha.goes_on(11, 1, 0.1)
    driven.searcher.on_trial_complete("resting", result(1, 0.1))
    seen = _as_seen(driven.study, QUESTION, driven.asha.resting())
    assert [trial.state for trial in seen.trials] == [TrialState.PRUNED] * 12
    assert seen.trials[11].intermediate_values == {1: 0.1}
    assert driven.study.trials[11].state == TrialState.RUNNING
    assert config["recipe"]["lr"] == seen.trials[11].params["lr"]


def test_a_study_rebuilt_from_its_record_suggests_what_the_uninterrupted_one_does(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db")
    for number in range(13):  # past the ten random trials that TPE begins with
        accuracy = 0.3 + 0.02 * ((7 * number) % 11)
        status = ("completed", "stopped", "stopped", "diverged")[number % 4]
        epochs = {"completed": 9, "stopped": 3, "diverged": 0}[status]
        driven.run(number, [accuracy + 0.01 * epoch for epoch in range(epochs)], status)
    again, unfinished = rebuild(tmp_path / "again.db", QUESTION, driven.events)
    assert unfinished == []
    assert ask(again, QUESTION).recipe == ask(driven.study, QUESTION).recipe
    known = [(trial.state, trial.params, trial.intermediate_values) for trial in driven.study.trials[:-1]]
    assert [(trial.state, trial.params, trial.intermediate_values) for trial in again.trials[:-1]] == known


def test_trials_cut_off_with_their_driver_are_handed_out_again_under_their_numbers(tmp_path: Path) -> None:
    driven = Driven(tmp_path / "optuna.db")
    driven.run(0, [0.4], "stopped")
    cut_off = driven.searcher.suggest("ray_1")
    study, unfinished = rebuild(tmp_path / "again.db", QUESTION, driven.events)
    asha = ASHA(9, 1, 3, samples=20)
    asha.replay(driven.events)
    searcher = OptunaSearcher(study, QUESTION, asha, lambda number: True, unfinished, lambda suggestion: None)
    assert searcher.suggest("new_1") == cut_off
    assert searcher.suggest("new_2")["number"] == 2


def test_a_baseline_value_that_a_range_leaves_out_is_trained_but_not_told(tmp_path: Path) -> None:
    def high(trial: Any) -> dict[str, Any]:
        return {
            "lr": trial.suggest_float("lr", 0.1, 1.0),
            "flip": trial.suggest_categorical("flip", ["none", "random"]),
        }

    study, _ = rebuild(tmp_path / "optuna.db", Question(high, "high", BASELINE, 9, 0), [])
    suggestion = ask(study, Question(high, "high", BASELINE, 9, 0))
    assert suggestion.recipe.lr == BASELINE.lr
    assert study.trials[0].params == {"flip": "none"}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (lambda trial: {"learning_rate": 0.1}, ["mine", "learning_rate"]),
        (lambda trial: {"lr": trial.suggest_float("lr", -2.0, -1.0)}, ["mine", "'lr'", "allowed"]),
        (lambda trial: {"gamma": trial.suggest_float("gamma", 0.1, 0.5)}, ["mine", "'gamma'", "schedule"]),
        (lambda trial: 1 / 0, ["mine", "ZeroDivisionError"]),
        (lambda trial: None, ["mine", "None", "dict"]),
    ],
)
def test_a_space_with_a_mistake_is_refused_before_any_training_by_name(space: Any, words: list[str]) -> None:
    with pytest.raises(SpaceError) as error:
        Question(space, "mine", BASELINE, 9, 0).check()
    assert all(word in str(error.value) for word in words)
