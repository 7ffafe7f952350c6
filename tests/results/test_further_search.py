import numpy as np
import pytest

from results.events import EpochFinished, Event, State, TrialEnded, TrialPaused, TrialPromoted, TrialStarted
from results.further_search import FinalValues, FurtherSearch, final_values, worth_of_more
from results.metric import ACCURACY, MetricInfo


def test_the_chance_of_a_better_trial_is_the_share_of_those_to_come() -> None:
    finals = np.random.default_rng(0).exponential(size=20)
    for more in (1, 20, 60):
        worth = worth_of_more(finals, more)
        assert worth is not None
        assert worth.chance == pytest.approx(more / (20 + more), abs=0.01)


def test_trials_that_failed_count_as_trials() -> None:
    finals = [*np.random.default_rng(0).exponential(size=20), *[np.nan] * 20]
    worth = worth_of_more(finals, 20)
    assert worth is not None
    assert worth.chance == pytest.approx(1 / 3, abs=0.01)


def test_eighty_percent_intervals_hold_at_least_that_often_for_exponential_tails() -> None:
    random = np.random.default_rng(1)
    held, expected, came = [], [], []
    for _ in range(400):
        values = random.exponential(size=40)
        worth = worth_of_more(values[:20], 20)
        assert worth is not None
        gain = max(0.0, values.max() - values[:20].max())
        held.append(worth.low <= gain <= worth.high)
        expected.append(worth.gain)
        came.append(gain)
    # The lower end is 0 in every search, so that one in ten is outside, above.
    assert 0.8 < np.mean(held) < 0.95
    assert np.mean(expected) == pytest.approx(np.mean(came), rel=0.35)


def test_a_loss_is_searched_downwards_and_a_limit_bounds_the_gain() -> None:
    losses = -np.random.default_rng(0).exponential(size=20) + 5
    down, up = worth_of_more(losses, 20, "min"), worth_of_more(5 - losses, 20)
    assert down is not None
    assert up is not None
    assert down.gain == pytest.approx(up.gain)
    limited = worth_of_more([0.90, 0.95, 0.97, 0.98, 0.99, 0.999], 20, limit=1.0)
    assert limited is not None
    assert limited.high <= 0.001 + 1e-12


def test_nothing_is_said_of_too_few_trials_and_no_trials_are_not_asked_about() -> None:
    assert worth_of_more([0.1, 0.2, 0.3, np.nan], 20) is None
    with pytest.raises(ValueError, match="trials is 0; allowed: at least 1"):
        worth_of_more([0.1] * 9, 0)


def test_the_words_are_in_the_unit_asked_for() -> None:
    worth = FurtherSearch(20, 0.5, 0.004, 0.0, 0.011)
    assert worth.in_words(ACCURACY) == "20 more trials: about +0.4 points, 80% interval 0.0 to 1.1"
    loss = MetricInfo("log_loss", "min")
    assert worth.in_words(loss) == "20 more trials: about -0.0040, 80% interval 0.0000 to 0.0110"


def test_stopped_trials_are_expected_to_gain_what_completed_ones_have_gained() -> None:
    def epochs(number: int, values: list[float]) -> list[Event]:
        return [
            EpochFinished(number=number, epoch=at, metrics={"val_accuracy": value}, seconds=1.0, time_total_s=1.0)
            for at, value in enumerate(values, 1)
        ]

    events: list[Event] = [TrialStarted(number=number, config={}, seed=0) for number in range(5)]
    events += [*epochs(0, [0.2, 0.4, 0.6]), TrialEnded(number=0, status="completed", reason=None)]
    events += [*epochs(1, [0.1]), TrialEnded(number=1, status="stopped", reason="rung 1")]
    events += [*epochs(2, [0.3, 0.45]), TrialPaused(number=2)]
    events += [*epochs(3, [0.1]), TrialEnded(number=3, status="diverged", reason="loss nan")]
    events += epochs(4, [0.3])
    found = final_values(State(events), "val_accuracy", 3)
    assert list(found) == [0, 1, 2, 3]
    assert [found[number] for number in (0, 1, 2)] == pytest.approx([0.6, 0.5, 0.65])
    assert np.isnan(found[3])
    assert final_values(State(events[:5]), "val_accuracy", 3) == {}


@pytest.mark.parametrize("seed", range(20))
def test_final_values_kept_up_to_date_are_those_found_anew_after_each_event(seed: int) -> None:
    random, state, kept = np.random.default_rng(seed), State(), FinalValues("val_accuracy", 3)
    for _ in range(200):
        event = _next_event(random, state)
        state.apply(event)
        kept.apply(event, state.trials[event.number])
        anew = list(final_values(state, "val_accuracy", 3).values())
        np.testing.assert_array_equal(np.sort(kept.values()), np.sort(anew))


def _next_event(random: np.random.Generator, state: State) -> Event:
    """One that a study of trials of three epochs may write next."""
    unfinished = state.unfinished()
    if not unfinished or random.random() < 0.2:
        return TrialStarted(number=len(state.trials), config={}, seed=0)
    trial = unfinished[int(random.integers(len(unfinished)))]
    if trial.paused:
        return TrialPromoted(number=trial.number)
    if trial.epoch == 3 or random.random() < 0.2:
        status = "failed" if trial.epoch < 3 or random.random() < 0.2 else "completed"
        return TrialEnded(number=trial.number, status=status, reason=None)
    if trial.epoch and random.random() < 0.3:
        return TrialPaused(number=trial.number)
    metrics = {"val_accuracy": None if random.random() < 0.1 else float(random.random())}
    return EpochFinished(
        number=trial.number, epoch=trial.epoch + 1, metrics=metrics, seconds=1.0, time_total_s=trial.epoch + 1.0
    )
