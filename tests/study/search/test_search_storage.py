"""What a sampler sees of a search: everything in a small one, and a bounded part of a large one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialPromoted, TrialStarted
from study.recipe import BASELINE
from study.search import search_storage
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem
from study.search.samplers import SAMPLERS
from study.search.search_storage import BEST, LATEST, SearchStorage

BOUND = BEST + LATEST


def space(trial: Any) -> dict[str, Any]:
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    momentum = {"momentum": trial.suggest_float("momentum", 0.5, 0.99)} if optimizer == "sgd" else {}
    return {"optimizer": optimizer, "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True), **momentum}


def problem(sampler: str, **changes: Any) -> SearchProblem:
    return SearchProblem(space, "space", BASELINE, 4, 3, sampler=sampler, **changes)


def events(trials: int) -> list[Event]:
    """Trials with a result (completed, stopped or paused); every tenth one beside them has failed."""
    random, found, number, with_result = np.random.default_rng(0), list[Event](), 0, 0
    while with_result < trials:
        lr, is_sgd = float(10 ** random.uniform(-4, 0)), bool(random.random() < 0.5)
        config = {"optimizer": "sgd", "lr": lr, "momentum": 0.9} if is_sgd else {"optimizer": "adam", "lr": lr}
        found.append(TrialStarted(number=number, config=config, seed=number))
        last = int(random.choice([1, 2, 4]))
        for epoch in range(1, last + 1):
            metrics = {"val_accuracy": float(random.random())}
            found.append(
                EpochFinished(number=number, epoch=epoch, metrics=metrics, seconds=1.0, time_total_s=float(epoch))
            )
        if number % 10 == 9:
            found.append(TrialEnded(number=number, status="failed", reason="a test"))
        elif last == 4:
            found.append(TrialEnded(number=number, status="completed", reason=None))
        elif random.random() < 0.5:
            found.append(TrialEnded(number=number, status="stopped", reason=f"rung {last}"))
        else:
            found.append(TrialPaused(number=number))
        with_result += number % 10 != 9
        number += 1
    return found


@contextmanager
def unbounded(storage: SearchStorage) -> Iterator[None]:
    yield


def asked(sampler: str, trials: int) -> dict[str, Any]:
    suggestion = OptunaStudy(problem(sampler), events(trials)).ask()
    assert suggestion is not None
    return dict(suggestion.draw.params)


@pytest.mark.parametrize("trials", [30, BOUND - 1, BOUND])
@pytest.mark.parametrize("sampler", ["tpe", "prior"])
def test_up_to_the_bound_suggestions_are_the_same_to_the_bit(
    sampler: str, trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = asked(sampler, trials)
    monkeypatch.setattr(SearchStorage, "bounded", unbounded)
    assert bounded == asked(sampler, trials)


class Watching(optuna.samplers.RandomSampler):
    """Draws at random and keeps what it could have looked at."""

    seen: list[FrozenTrial]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        Watching.seen = study.get_trials(deepcopy=False)


def seen(found: list[Event], **changes: Any) -> list[FrozenTrial]:
    """What a sampler sees after these events."""
    assert OptunaStudy(problem("watching", **changes), found).ask() is not None
    return Watching.seen


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "watching", lambda seed, problem: Watching(seed=seed))


@pytest.mark.usefixtures("watching")
@pytest.mark.parametrize(("trials", "is_all"), [(BOUND, True), (BOUND + 60, False)])
def test_up_to_the_bound_a_sampler_sees_every_trial(trials: int, is_all: bool) -> None:
    found = events(trials)
    assert (len(seen(found)) == len(OptunaStudy(problem("random"), found).study().trials)) == is_all


@pytest.mark.usefixtures("watching")
def test_a_sampler_sees_the_best_the_latest_and_all_that_run() -> None:
    found = events(2 * BOUND)
    paused = next(event.number for event in found if isinstance(event, TrialPaused))
    found.append(TrialPromoted(number=paused))
    visible = {trial.number: trial for trial in seen(found)}
    assert visible[paused].state == TrialState.RUNNING
    assert len(visible) <= BOUND + 1
    everything = OptunaStudy(problem("random"), found).study().trials
    with_result = [trial for trial in everything if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert {trial.number for trial in with_result[-LATEST:]} <= set(visible)
    complete = [trial for trial in with_result if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: trial.value or 0.0, reverse=True)[:BEST]
    assert {trial.number for trial in best} <= set(visible)
    assert list(visible) == sorted(visible)


@pytest.mark.usefixtures("watching")
def test_what_a_sampler_sees_does_not_grow_with_the_trials() -> None:
    assert [len(seen(events(trials))) <= BOUND for trials in (2 * BOUND, 4 * BOUND)] == [True, True]


@pytest.mark.usefixtures("watching")
def test_tpe_gets_beyond_its_random_trials_however_many_they_are() -> None:
    assert len(seen(events(BOUND + 200), n_startup=BOUND + 100)) >= BOUND + 100


def test_the_study_itself_has_every_trial() -> None:
    found = events(2 * BOUND)
    begun = sum(isinstance(event, TrialStarted) for event in found)
    assert len(OptunaStudy(problem("tpe"), found).study().trials) == begun


def test_finding_what_a_sampler_sees_ranks_no_trial_again(monkeypatch: pytest.MonkeyPatch) -> None:
    study = OptunaStudy(problem("random"), events(2 * BOUND))
    ranked = list[int]()
    key = search_storage.rank_key
    monkeypatch.setattr(
        search_storage, "rank_key", lambda trial, direction: (ranked.append(trial.number), key(trial, direction))[1]
    )
    assert study.ask() is not None
    assert ranked == []
