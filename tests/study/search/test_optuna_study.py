import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from stored_study import stored_trials

from results.events import EpochFinished, Event, State, Status, TrialEnded, TrialPaused, TrialPromoted, TrialStarted
from search_spaces import SpaceError, load
from study.errors import EventLogError
from study.execution.interruption import Interruption
from study.execution.trial_searcher import TrialSearcher
from study.pipeline.phases.search import _StopAt as StopAt
from study.recipe import BASELINE, RECIPES
from study.search import optuna_study
from study.search.optuna_study import OptunaDatabase, OptunaStudy
from study.search.problem import SearchProblem
from study.search.schedulers import ASHA, SchedulerSettings
from study.storage.event_log import EventLog
from study.training.metrics import Metric

PROBLEM = SearchProblem(load("cnn-wide"), "cnn-wide", BASELINE, max_epochs=9, seed=5)


def epoch(number: int, at: int, accuracy: float) -> EpochFinished:
    return EpochFinished(
        number=number, epoch=at, metrics={"val_accuracy": accuracy}, seconds=1.0, time_total_s=float(at)
    )


class Log:
    """An event log in memory."""

    def __init__(self) -> None:
        self.state = State()
        self.events: list[Event] = []
        self.followers: list[Any] = []

    def append(self, event: Event) -> None:
        self.state.apply(event)
        self.events.append(event)
        for follower in self.followers:
            follower.apply(event)


class Driven:
    """A searcher whose events reach its scheduler and study, driven as Ray Tune drives it."""

    def __init__(self, samples: int = 20, problem: SearchProblem = PROBLEM, events: list[Event] | None = None) -> None:
        self.log = Log()
        self.asha = ASHA(SchedulerSettings(9, samples, reduction_factor=3))
        for event in events or []:
            self.log.append(event)
            self.asha.apply(event)
        self.study = OptunaStudy(problem, events or [])
        self.log.followers = [self.asha, self.study]
        self.searcher = TrialSearcher(
            problem, cast("EventLog", self.log), self.study, self.asha, lambda number: number < samples
        )

    @property
    def events(self) -> list[Event]:
        return self.log.events

    def record(self, event: Event) -> None:
        self.log.append(event)

    def run(self, number: int, accuracies: list[float], status: Status) -> None:
        identity = f"ray_{number}"
        assert self.searcher.suggest(identity)["number"] == number
        for at, accuracy in enumerate(accuracies, 1):
            self.record(epoch(number, at, accuracy))
        self.searcher.on_trial_complete(identity, error=status == "failed")
        self.record(TrialEnded(number=number, status=status, reason=None))

    def pause(self, accuracies: list[float]) -> None:
        """One new trial after the other has an epoch of this accuracy and is paused."""
        for number, accuracy in enumerate(accuracies, self.study.begun):
            assert self.searcher.suggest(f"ray_{number}")["number"] == number
            self.record(epoch(number, 1, accuracy))
            self.searcher.on_trial_complete(f"ray_{number}")
            self.record(TrialPaused(number=number))

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.study().trials


def seen(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    return [(each.state, each.params, each.intermediate_values, each.value) for each in trials]


def test_trial_0_is_the_base_recipe_and_optuna_learns_from_it() -> None:
    driven = Driven()
    recipe = driven.searcher.suggest("a")["recipe"]
    assert recipe == BASELINE.with_fields({"epochs": 9, "seed": recipe["seed"]}).as_dict()
    params = driven.trials[0].params
    assert params["lr"] == BASELINE.lr
    assert all(getattr(BASELINE, name) == value for name, value in params.items())
    assert {"channels", "schedule", "batch_size"} <= set(params)


def test_asking_registers_nothing_until_the_trial_has_started() -> None:
    study = OptunaStudy(PROBLEM)
    suggestion = study.ask()
    assert suggestion is not None
    assert study.ask() is suggestion
    assert study.study().trials == []
    study.apply(suggestion.started())
    assert [trial.state for trial in study.study().trials] == [TrialState.RUNNING]
    assert study.begun == 1


def test_a_stopped_trial_is_pruned_with_its_steps_and_its_last_value() -> None:
    driven = Driven()
    driven.run(0, [0.3, 0.4, 0.5], "stopped")
    assert driven.trials[0].state == TrialState.PRUNED
    assert driven.trials[0].intermediate_values == {1: 0.3, 2: 0.4, 3: 0.5}
    assert driven.trials[0].value == 0.5


def test_a_completed_trial_is_complete_with_its_last_accuracy() -> None:
    driven = Driven()
    driven.run(0, [0.1 * at for at in range(1, 10)], "completed")
    assert driven.trials[0].state == TrialState.COMPLETE
    assert driven.trials[0].value == pytest.approx(0.9)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_diverged_or_failed_trial_is_failed(status: Status) -> None:
    driven = Driven()
    driven.run(0, [0.3], status)
    assert driven.trials[0].state == TrialState.FAIL


def test_a_metric_to_be_minimized_minimizes() -> None:
    loss = Metric("loss", "min", lambda labels, probabilities: 0.0)
    study = OptunaStudy(SearchProblem(load("cnn-wide"), "cnn-wide", BASELINE, 9, 5, metric=loss))
    for number, value in enumerate([0.7, 0.2, 0.5]):
        suggestion = study.ask()
        assert suggestion is not None
        study.apply(suggestion.started())
        study.apply(EpochFinished(number=number, epoch=9, metrics={"val_loss": value}, seconds=1.0, time_total_s=9.0))
        study.apply(TrialEnded(number=number, status="completed", reason=None))
    assert study.study().best_trial.number == 1


def test_suggestions_end_with_the_last_sample() -> None:
    driven = Driven(samples=1)
    assert driven.searcher.suggest("a") != TrialSearcher.FINISHED
    assert driven.searcher.suggest("b") is None  # a running trial may have another one promoted
    driven.searcher.on_trial_complete("a", error=True)
    driven.record(TrialEnded(number=0, status="failed", reason=None))
    assert driven.searcher.suggest("b") == TrialSearcher.FINISHED


def test_a_promoted_trial_is_handed_out_once_and_before_any_new_one() -> None:
    driven = Driven()
    driven.pause([0.5, 0.3, 0.4])
    again = driven.searcher.suggest("promoted")
    assert again["number"] == 0
    assert again["recipe"] == driven.study.unfinished[0].as_dict()
    assert again["recorded"] == 1
    assert driven.events[-1] == TrialPromoted(number=0)
    assert driven.searcher.suggest("new")["number"] == 3
    assert driven.trials[0].state == TrialState.RUNNING


def test_tpe_learns_from_paused_trials() -> None:
    driven = Driven()
    for number in range(11):
        driven.run(number, [0.3 + 0.01 * number], "stopped")
    driven.pause([0.1])
    assert [trial.state for trial in driven.trials] == [TrialState.PRUNED] * 12
    assert driven.trials[11].intermediate_values == {1: 0.1}
    assert driven.trials[11].user_attrs == {"paused": True}
    driven.record(TrialPromoted(number=11))
    assert driven.trials[11].state == TrialState.RUNNING
    assert driven.trials[11].user_attrs == {"paused": False}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_rebuilt_from_its_events_suggests_what_the_uninterrupted_one_does(sampler: str) -> None:
    driven = Driven(problem=SearchProblem(load("full"), "full", BASELINE, 9, 5, sampler=sampler))
    statuses: list[Status] = ["completed", "stopped", "stopped", "diverged"]
    for number in range(13):  # past the ten random trials that TPE begins with
        accuracy, status = 0.3 + 0.02 * ((7 * number) % 11), statuses[number % 4]
        epochs = {"completed": 9, "stopped": 3, "diverged": 0}[status]
        driven.run(number, [accuracy + 0.01 * at for at in range(epochs)], status)
    running = [driven.searcher.suggest(f"running_{slot}")["number"] for slot in range(2)]
    again = OptunaStudy(SearchProblem(load("full"), "full", BASELINE, 9, 5, sampler=sampler), driven.events)
    assert list(again.unfinished) == running
    assert seen(again.study().trials) == seen(driven.trials)
    one, other = again.ask(), driven.study.ask()
    assert one is not None
    assert other is not None
    assert one.recipe == other.recipe


def test_trials_cut_off_with_their_driver_are_handed_out_again_under_their_numbers() -> None:
    driven = Driven()
    driven.run(0, [0.4], "stopped")
    cut_off = driven.searcher.suggest("ray_1")
    again = Driven(events=driven.events)
    assert again.searcher.suggest("new_1") == cut_off
    assert again.searcher.suggest("new_2")["number"] == 2


def test_a_small_space_is_searched_without_repeats_and_the_search_ends_with_it() -> None:
    def small(trial: Any) -> dict[str, Any]:
        return {
            "flip": trial.suggest_categorical("flip", ["none", "random"]),
            "translate": trial.suggest_int("translate", 0, 2),
        }

    driven = Driven(samples=20, problem=SearchProblem(small, "small", BASELINE, 9, 0))
    driven.pause([0.1] * 3)
    while (config := driven.searcher.suggest("slot")) != TrialSearcher.FINISHED:
        number = config["number"]
        at = driven.study.epochs.get(number, 0) + 1
        driven.record(epoch(number, at, 0.1 + number / 100))
        driven.searcher.on_trial_complete("slot")
        done = TrialEnded(number=number, status="completed", reason=None)
        driven.record(done if at == 9 else TrialPaused(number=number)) if at in (1, 3, 9) else None
    begun = [event.config for event in driven.events if isinstance(event, TrialStarted)]
    assert len({(config["flip"], config["translate"]) for config in begun}) == len(begun) == 6


def test_the_space_is_called_once_for_a_suggestion() -> None:
    calls = list[int]()

    def counting(trial: Any) -> dict[str, Any]:
        calls.append(trial.number)
        return {"lr": trial.suggest_float("lr", 1e-3, 0.1)}

    driven = Driven(problem=SearchProblem(counting, "counting", BASELINE, 9, 0))
    for number in range(12):
        driven.run(number, [0.3], "stopped")
    assert calls == list(range(12))


def test_params_are_in_the_event_where_the_config_does_not_tell_them() -> None:
    def derived(trial: Any) -> dict[str, Any]:
        return {"lr": trial.suggest_float("lr", 1e-3, 0.1)}

    study = OptunaStudy(SearchProblem(derived, "derived", BASELINE, 9, 0))
    study.apply(TrialStarted(number=0, config={"lr": 0.02, "hidden": "64"}, params={"lr": 0.05}, seed=1))
    assert study.study().trials[0].params == {"lr": 0.05}
    assert study.unfinished[0].lr == 0.02
    assert study.unfinished[0].hidden == "64"
    suggestion = study.ask()
    assert suggestion is not None
    assert suggestion.started().params is None


def test_optunas_verbosity_stays_as_its_user_has_set_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        driven = Driven()
        with OptunaDatabase(tmp_path / "optuna.db", PROBLEM, driven.study) as database:
            driven.run(0, [0.3], "stopped")
            for event in driven.events:
                database.apply(event)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert "A new study" not in capfd.readouterr().err


def test_the_database_has_what_the_study_has_also_when_it_is_begun_in_mid_search(tmp_path: Path) -> None:
    driven = Driven()
    with OptunaDatabase(tmp_path / "optuna.db", PROBLEM, driven.study) as database:
        statuses: list[Status] = ["stopped", "completed", "diverged"]
        for number, status in enumerate(statuses):
            before = len(driven.events)
            driven.run(number, [0.3, 0.4 + 0.1 * number], status)
            for event in driven.events[before:]:
                database.apply(event)
        before = len(driven.events)
        driven.pause([0.2])
        for event in driven.events[before:]:
            database.apply(event)
    assert database.failure is None
    with OptunaDatabase(tmp_path / "again.db", PROBLEM, driven.study):
        pass
    expected = seen(driven.trials)
    expected[-1] = (TrialState.RUNNING, *expected[-1][1:])
    assert [state for state, *_ in expected] == [
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    for name in ("optuna.db", "again.db"):
        trials = stored_trials(tmp_path / name)
        assert seen(trials) == expected
        assert trials[3].user_attrs == {"paused": True}


def test_the_study_in_the_database_is_called_as_the_run(tmp_path: Path) -> None:
    study = OptunaStudy(PROBLEM, name="sgd-7")
    with OptunaDatabase(tmp_path / "optuna.db", PROBLEM, study):
        pass
    assert stored_trials(tmp_path / "optuna.db", "sgd-7") == []


def test_a_viewer_that_locks_the_database_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's open transaction blocks SQLite's writers until it ends, here after the search."""
    monkeypatch.setattr(optuna_study, "BUSY_TIMEOUT_S", 0.1)
    driven = Driven()
    path = tmp_path / "optuna.db"
    with OptunaDatabase(path, PROBLEM, driven.study) as database:
        driven.run(0, [0.3], "stopped")
        for event in driven.events:
            database.apply(event)
        written = threading.Event()
        database._thread.submit(written.set)
        assert written.wait(30)
        viewer = sqlite3.connect(path)
        viewer.execute("begin")
        assert viewer.execute("select count(*) from trials").fetchall() == [(1,)]
        before = len(driven.events)
        driven.run(1, [0.4, 0.5], "stopped")
        for event in driven.events[before:]:
            database.apply(event)
    viewer.close()
    assert database.failure is None
    assert seen(stored_trials(path)) == seen(driven.trials)
    assert [file.name for file in tmp_path.iterdir()] == ["optuna.db"]


def test_a_database_that_cannot_be_written_says_why_and_ends_nothing(tmp_path: Path) -> None:
    driven = Driven()
    with OptunaDatabase(tmp_path / "none" / "optuna.db", PROBLEM, driven.study) as database:
        driven.run(0, [0.3], "stopped")
        for event in driven.events:
            database.apply(event)
    assert database.failure is not None
    assert "unable to open" in database.failure
    assert "\n" not in database.failure


def test_the_database_keeps_a_search_from_waiting_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    monkeypatch.setattr(OptunaDatabase, "_apply", lambda self, event: slow.wait(20))
    driven = Driven()
    began = time.monotonic()
    with OptunaDatabase(tmp_path / "optuna.db", PROBLEM, driven.study) as database:
        driven.run(0, [0.3], "stopped")
        for event in driven.events:
            database.apply(event)
        assert time.monotonic() - began < 10
        slow.set()


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([TrialStarted(number=1, config={}, seed=0)], "trial 1 starts out of order"),
        ([TrialPaused(number=0)], "trial 0 continues after its end, or never began"),
    ],
)  # fmt: skip
def test_events_that_no_study_writes_are_damaged(events: list[Event], words: str) -> None:
    with pytest.raises(EventLogError, match=words):
        OptunaStudy(PROBLEM, events)


def test_a_base_value_that_a_range_leaves_out_is_trained_and_not_in_optunas_params() -> None:
    def high(trial: Any) -> dict[str, Any]:
        return {
            "lr": trial.suggest_float("lr", 0.1, 1.0),
            "flip": trial.suggest_categorical("flip", ["none", "random"]),
        }

    study = OptunaStudy(SearchProblem(high, "high", BASELINE, 9, 0))
    suggestion = study.ask()
    assert suggestion is not None
    assert suggestion.recipe.lr == BASELINE.lr
    study.apply(suggestion.started())
    assert study.study().trials[0].params == {"flip": "none"}


def test_trial_0_works_where_an_axis_is_logarithmic_and_the_base_value_is_zero() -> None:
    def logarithmic(trial: Any) -> dict[str, Any]:
        return {"weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)}

    driven = Driven(problem=SearchProblem(logarithmic, "logarithmic", BASELINE, 9, 0))
    for number in range(12):
        driven.run(number, [0.3 + number / 100], "stopped")
    assert driven.trials[0].params == {}


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


def test_further_recipes_are_the_trials_after_the_first() -> None:
    starts = [RECIPES["tutorial"].as_dict(), BASELINE.with_fields({"lr": 0.05}).as_dict()]
    driven = Driven(problem=replace(PROBLEM, starts=starts))
    for number in range(3):
        driven.run(number, [0.3], "stopped")
    began = [event for event in driven.events if isinstance(event, TrialStarted)]
    recipes = [PROBLEM.recipe(event.number, dict(event.config)) for event in began]
    assert [recipe.lr for recipe in recipes] == [0.001, 0.001, 0.05]
    assert recipes[1].channels == "6-16"


@pytest.mark.parametrize(("mode", "values", "reached"), [("max", (0.8, 0.9), 0.9), ("min", (0.5, 0.4), 0.4)])
def test_a_search_stops_at_its_target(mode: Any, values: tuple[float, float], reached: float) -> None:
    metric = Metric("accuracy", mode, lambda labels, probabilities: 0.0, "{:.3f}")
    interruption = Interruption()
    target = StopAt(reached, replace(PROBLEM, metric=metric), interruption, [])
    asked = []
    for number, value in enumerate(values):
        target.apply(epoch(number, 1, value))
        asked.append(interruption.reason)
    assert asked == [None, "target reached"]
    assert target.is_reached
    resumed = StopAt(reached, replace(PROBLEM, metric=metric), Interruption(), [epoch(0, 1, values[1])])
    assert resumed.is_reached
