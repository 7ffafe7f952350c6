import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search_spaces import SpaceError, load
from study.errors import EventLogError
from study.execution.searcher import OptunaSearcher
from study.recipe import BASELINE
from study.search.asha import ASHA
from study.search.optuna_study import OptunaDatabase, OptunaStudy, PausedAsPrunedStorage, Suggestion
from study.search.problem import SearchProblem

QUESTION = SearchProblem(load("cnn-wide"), "cnn-wide", BASELINE, max_epochs=9, seed=5)


class Driven:
    """A searcher, and the record that its study is told, driven as Ray Tune drives it."""

    def __init__(self, samples: int = 20) -> None:
        self.events: list[dict[str, Any]] = []
        self.asha = ASHA(9, 1, 3, samples)
        self.told = OptunaStudy(QUESTION, PausedAsPrunedStorage(self.asha.paused, before=0))
        self.searcher = OptunaSearcher(self.told, self.asha, lambda number: number < samples, self._suggested)
        self.suggestions: list[Suggestion] = []

    def record(self, event: str, number: int, **content: Any) -> None:
        self.events.append({"event": event, "number": number, **content})
        self.told(self.events[-1])

    def _suggested(self, suggestion: Suggestion) -> None:
        self.suggestions.append(suggestion)
        self.record("trial", suggestion.number, config=suggestion.config)

    def run(self, number: int, accuracies: list[float], status: str) -> None:
        identity = f"ray_{number}"
        assert self.searcher.suggest(identity)["number"] == number
        self.asha.begin(number)
        for epoch, accuracy in enumerate(accuracies, 1):
            self.record("epoch", number, training_iteration=epoch, val_accuracy=accuracy)
        self.searcher.on_trial_complete(identity, error=status == "failed")
        self.asha.end(number)
        self.record("end", number, status=status)


def trials(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="study", storage=f"sqlite:///{path}").trials


def test_trial_0_is_the_baseline_and_optuna_learns_from_it() -> None:
    driven = Driven()
    config = driven.searcher.suggest("a")
    seed = config["recipe"]["seed"]
    assert config["recipe"] == BASELINE.with_fields({"epochs": 9, "seed": seed}).as_dict()
    params = driven.told.study.trials[0].params
    assert params["lr"] == BASELINE.lr
    assert all(getattr(BASELINE, name) == value for name, value in params.items())
    assert {"channels", "schedule", "batch_size"} <= set(params)


def test_a_stopped_trial_is_told_to_optuna_as_pruned_with_its_steps() -> None:
    driven = Driven()
    driven.run(0, [0.3, 0.4, 0.5], "stopped")
    (stored,) = driven.told.study.trials
    assert stored.state == TrialState.PRUNED
    assert stored.intermediate_values == {1: 0.3, 2: 0.4, 3: 0.5}


def test_a_whole_trial_is_told_as_complete_with_its_last_accuracy() -> None:
    driven = Driven()
    driven.run(0, [0.1 * epoch for epoch in range(1, 10)], "completed")
    stored = driven.told.study.trials[0]
    assert stored.state == TrialState.COMPLETE
    assert stored.value == pytest.approx(0.9)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_diverged_or_failed_trial_is_told_as_fail(status: str) -> None:
    driven = Driven()
    driven.run(0, [0.3], status)
    assert driven.told.study.trials[0].state == TrialState.FAIL


def test_suggestions_end_with_the_last_sample() -> None:
    driven = Driven(samples=1)
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
        assert not driven.asha.continues(number, 1, accuracy)
        driven.record("epoch", number, training_iteration=1, val_accuracy=accuracy)
        driven.searcher.on_trial_complete(f"ray_{number}")
        driven.record("rest", number)


def test_a_promoted_trial_is_handed_out_before_any_new_one() -> None:
    driven = Driven()
    rested(driven, [0.5, 0.3, 0.4])
    again = driven.searcher.suggest("promoted")
    assert again["number"] == 0
    assert again["recipe"] == driven.suggestions[0].recipe.as_dict()
    driven.asha.begin(0)
    assert driven.searcher.suggest("new")["number"] == 3
    assert driven.told.study.trials[0].state == TrialState.RUNNING


def test_tpe_learns_from_trials_that_rest_at_a_rung() -> None:
    driven = Driven()
    for number in range(11):
        driven.run(number, [0.3 + 0.01 * number], "stopped")
    config = driven.searcher.suggest("paused")
    driven.asha.begin(11)
    assert driven.told.study.trials[11].state == TrialState.RUNNING
    assert not driven.asha.continues(11, 1, 0.1)
    driven.record("epoch", 11, training_iteration=1, val_accuracy=0.1)
    driven.searcher.on_trial_complete("paused")
    driven.record("rest", 11)
    seen = driven.told.study.trials
    assert [trial.state for trial in seen] == [TrialState.PRUNED] * 12
    assert seen[11].intermediate_values == {1: 0.1}
    assert config["recipe"]["lr"] == seen[11].params["lr"]
    driven.asha.begin(11)
    assert driven.told.study.trials[11].state == TrialState.RUNNING


def test_a_study_rebuilt_from_its_record_suggests_what_the_uninterrupted_one_does() -> None:
    driven = Driven()
    for number in range(13):  # past the ten random trials that TPE begins with
        accuracy = 0.3 + 0.02 * ((7 * number) % 11)
        status = ("completed", "stopped", "stopped", "diverged")[number % 4]
        epochs = {"completed": 9, "stopped": 3, "diverged": 0}[status]
        driven.run(number, [accuracy + 0.01 * epoch for epoch in range(epochs)], status)
    running = [driven.searcher.suggest(f"running_{slot}")["number"] for slot in range(2)]
    again = OptunaStudy(QUESTION, optuna.storages.InMemoryStorage(), driven.events)
    assert list(again.unfinished) == running
    assert [trial.system_attrs.keys() - {"fixed_params"} for trial in driven.told.study.trials[-2:]] == [set(), set()]
    assert again.ask().recipe == driven.told.ask().recipe
    known = [(trial.state, trial.params, trial.intermediate_values) for trial in driven.told.study.trials]
    assert [(trial.state, trial.params, trial.intermediate_values) for trial in again.study.trials] == known


def test_trials_cut_off_with_their_driver_are_handed_out_again_under_their_numbers() -> None:
    driven = Driven()
    driven.run(0, [0.4], "stopped")
    cut_off = driven.searcher.suggest("ray_1")
    asha = ASHA(9, 1, 3, samples=20)
    asha.replay(driven.events)
    told = OptunaStudy(QUESTION, PausedAsPrunedStorage(asha.paused, before=0), driven.events)
    searcher = OptunaSearcher(told, asha, lambda number: True, lambda suggestion: None)
    assert searcher.suggest("new_1") == cut_off
    assert searcher.suggest("new_2")["number"] == 2


def test_the_database_has_what_the_study_was_told_and_the_past_before_it(tmp_path: Path) -> None:
    driven = Driven()
    with OptunaDatabase(tmp_path / "optuna.db", QUESTION, driven.events) as database:
        for number, status in enumerate(("stopped", "completed", "diverged")):
            before = len(driven.events)
            driven.run(number, [0.3, 0.4 + 0.1 * number], status)
            for event in driven.events[before:]:
                database(event)
        driven.searcher.suggest("ray_3")
        database(driven.events[-1])
    with OptunaDatabase(tmp_path / "again.db", QUESTION, driven.events):
        pass
    expected = [(each.state, each.params, each.intermediate_values, each.value) for each in driven.told.study.trials]
    assert [state for state, *_ in expected] == [
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    for name in ("optuna.db", "again.db"):
        stored = trials(tmp_path / name)
        assert [(each.state, each.params, each.intermediate_values, each.value) for each in stored] == expected


def test_a_database_that_cannot_be_written_says_so_at_its_end(tmp_path: Path) -> None:
    driven = Driven()
    driven.searcher.suggest("ray_0")
    database = OptunaDatabase(tmp_path / "none" / "optuna.db", QUESTION, driven.events)
    with pytest.raises(OSError, match=r"optuna\.db cannot be written: .*unable to open"), database:
        database(driven.events[0])


def test_a_database_that_fails_in_mid_search_is_told_nothing_more_and_hides_no_other_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = Driven()
    driven.run(0, [0.3], "stopped")
    told = list[str]()

    def full(self: OptunaStudy, event: dict[str, Any]) -> None:
        told.append(event["event"])
        if event["event"] == "epoch":
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(OptunaStudy, "__call__", full)

    def write() -> None:
        with OptunaDatabase(tmp_path / "optuna.db", QUESTION, []) as database:
            for event in driven.events:
                database(event)
            if len(told) > 2:
                raise KeyboardInterrupt

    with pytest.raises(OSError, match=r"optuna\.db cannot be written: database or disk is full"):
        write()
    assert told == ["trial", "epoch"]
    told.append("again")
    with pytest.raises(KeyboardInterrupt):
        write()


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([{"event": "trial", "number": 1, "config": {}}], "trial 1 is not the one that was to come"),
        ([{"event": "rest", "number": 0}], "trial 0 goes on after its end, or never began"),
    ],
)  # fmt: skip
def test_a_record_that_no_study_writes_is_damaged(events: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(EventLogError, match=words):
        OptunaStudy(QUESTION, optuna.storages.InMemoryStorage(), events)


def test_a_baseline_value_that_a_range_leaves_out_is_trained_but_not_told() -> None:
    def high(trial: Any) -> dict[str, Any]:
        return {
            "lr": trial.suggest_float("lr", 0.1, 1.0),
            "flip": trial.suggest_categorical("flip", ["none", "random"]),
        }

    told = OptunaStudy(SearchProblem(high, "high", BASELINE, 9, 0), optuna.storages.InMemoryStorage())
    assert told.ask().recipe.lr == BASELINE.lr
    assert told.study.trials[0].params == {"flip": "none"}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (lambda trial: {"learning_rate": 0.1}, ["mine", "learning_rate"]),
        (lambda trial: {"lr": trial.suggest_float("lr", -2.0, -1.0)}, ["mine", "'lr'", "allowed"]),
        (lambda trial: {"gamma": trial.suggest_float("gamma", 0.1, 0.5)}, ["mine", "'gamma'", "schedule"]),
        (lambda trial: 1 / 0, ["mine", "ZeroDivisionError"]),
        (lambda trial: None, ["mine", "None", "dict"]),
        (lambda trial: {"momentum": 0 * trial.suggest_float("lr", 0.1, 1.0)}, ["mine", "draws lr", "never returns it"]),
    ],
)
def test_a_space_with_a_mistake_is_refused_before_any_training_by_name(space: Any, words: list[str]) -> None:
    with pytest.raises(SpaceError) as error:
        SearchProblem(space, "mine", BASELINE, 9, 0).check()
    assert all(word in str(error.value) for word in words)
