"""The replay of searches on recorded curves, on a table whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution

from benchmarks.search_replay import ARMS, LOSS, Nearest, Replay, Table, measure, misled, regret
from benchmarks.search_report import epochs_to_equal, improvement

LRS = np.geomspace(1e-4, 1.0, 40)


@pytest.fixture(scope="module")
def table() -> Table:
    """Losses that fall to how far the learning rate is from 0.01, in decades; the last recipe diverges."""
    ends = abs(np.log10(LRS) + 2)
    values = ends[:, None] + np.linspace(2, 0, 9)[None, :]
    values[-1, 4:] = np.nan
    distributions = {"lr": FloatDistribution(1e-4, 1.0, log=True)}

    def space(trial):  # type: ignore[no-untyped-def]
        return {"lr": trial.suggest_float("lr", 1e-4, 1.0, log=True)}

    configs = pd.DataFrame({"lr": LRS})
    return Table("made", configs, values, np.ones_like(values), space, LOSS, None, None, distributions)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("slots", [1, 3])
def test_a_replayed_study_has_twenty_different_recipes_and_their_own_curves(table: Table, arm: str, slots: int) -> None:
    replay = Replay(table, ARMS[arm], slots, seed=1, samples=20)
    replay.run()
    assert len(set(replay.recipes)) == 20
    assert max(replay.last) == 9
    assert len(replay.seen) == sum(replay.last)
    assert replay.chosen() in replay.recipes
    assert np.isfinite(table.values[replay.chosen(), -1])
    clock = [seconds for seconds, _, _ in replay.seen]
    assert clock == sorted(clock)
    assert clock[-1] == pytest.approx(len(clock) / slots, abs=9)


def test_without_a_scheduler_nothing_is_lost_and_regret_is_that_of_the_best_of_twenty(table: Table) -> None:
    rows = list(measure(table, "random, full", 1, 0, budget=27))
    assert rows[0]["lost"] == 0.0
    assert rows[0]["given_away"] == 0.0
    assert [row["budget"] for row in rows[1:]] == ["7 epochs", "14 epochs", "21 epochs", "27 epochs"]


def test_regret_is_nothing_for_the_best_recipe_and_all_for_the_median_one(table: Table) -> None:
    ends = table.values[:-1, -1]
    assert regret(table, np.array([ends.min()])) == 0.0
    assert regret(table, np.array([np.median(ends), 9.0])) == pytest.approx(1.0)
    assert regret(table, np.array([])) == 1.0


def test_the_nearest_unused_recipe_is_chosen(table: Table) -> None:
    nearest = Nearest(table)
    assert LRS[nearest({"lr": 0.01})] == pytest.approx(0.01, rel=0.15)
    first = nearest.used.argmax()
    assert abs(nearest({"lr": 0.01}) - first) == 1


def test_a_misleading_prior_is_centred_at_the_wrong_end(table: Table) -> None:
    prior = misled(table).priors["lr"]  # type: ignore[attr-defined]
    assert prior.centre_in(table.distributions["lr"]) == pytest.approx(1e-4)  # practice has 0.1 for SGD


def test_the_report_finds_when_regret_was_equal_and_how_often_it_was_smaller() -> None:
    regrets = [pd.DataFrame([[0.8, 0.4, 0.2]] * 4, columns=[10, 20, 30])]
    assert epochs_to_equal(regrets, 0.6) == pytest.approx(15)
    assert epochs_to_equal(regrets, 0.1) == float("inf")
    one = pd.DataFrame({"table": ["a"] * 2, "regret": [0.1, 0.5]})
    other = pd.DataFrame({"table": ["a"] * 2, "regret": [0.3, 0.5]})
    assert improvement(one, other) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
