"""--stop-when-worth ends a search by what its event log says, and by nothing else."""

import numpy as np
import pytest

from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialStarted
from results.metric import ACCURACY, MetricInfo
from study.search.enough import Enough


def search(finals: list[float], stopped: int = 0) -> list[Event]:
    """Trials of two epochs, one after the other, after `stopped` that were paused after their first one."""
    events: list[Event] = []
    for number in range(stopped):
        events += [TrialStarted(number=number, config={}, seed=0), epoch(number, 1, 0.2), TrialPaused(number=number)]
    for number, value in enumerate(finals, stopped):
        events += [TrialStarted(number=number, config={}, seed=0), epoch(number, 1, value - 0.1)]
        events += [epoch(number, 2, value), TrialEnded(number=number, status="completed", reason=None)]
    return events


def epoch(number: int, at: int, value: float) -> EpochFinished:
    metrics = {"val_accuracy": value, "val_log_loss": 1 - value}
    return EpochFinished(number=number, epoch=at, metrics=metrics, seconds=1.0, time_total_s=1.0)


def decided_after(events: list[Event], least: float, metric: MetricInfo = ACCURACY) -> int | None:
    """How many events it took, or None."""
    enough = Enough(least, metric, 2)
    for count, event in enumerate(events, 1):
        enough.apply(event)
        if enough.worth is not None:
            return count
    return None


FINALS = np.random.default_rng(3).normal(0.7, 0.02, 60).clip(0, 0.99).tolist()


def test_it_is_enough_when_more_trials_are_expected_to_gain_less_than_asked() -> None:
    enough = Enough(0.5, ACCURACY, 2, search(FINALS))
    assert enough.worth is not None
    assert enough.worth.gain < 0.005
    assert enough.worth.trials == 20


def test_the_less_is_worth_it_the_longer_the_search() -> None:
    events = search(FINALS)
    strict, loose = decided_after(events, 0.5), decided_after(events, 2.0)
    assert strict is not None
    assert loose is not None
    assert loose < strict
    assert decided_after(events, 0.0) is None


def test_a_rebuilt_search_decides_after_the_same_event_and_does_not_take_it_back() -> None:
    events = search(FINALS, stopped=10)
    at = decided_after(events, 0.5)
    assert at is not None
    for cut in (0, 7, at - 1, at, at + 1, len(events)):
        rebuilt = Enough(0.5, ACCURACY, 2, events[:cut])
        assert (rebuilt.worth is not None) == (cut >= at)
        for event in events[cut:]:
            rebuilt.apply(event)
        assert rebuilt.worth == Enough(0.5, ACCURACY, 2, events[:at]).worth


def test_a_loss_is_in_its_own_unit() -> None:
    loss = MetricInfo("log_loss", "min")
    assert decided_after(search(FINALS), 0.005, loss) == decided_after(search(FINALS), 0.5)


@pytest.mark.parametrize("events", [search(FINALS[:4]), []], ids=["four trials", "none"])
def test_too_few_trials_decide_nothing(events: list[Event]) -> None:
    assert decided_after(events, 100.0) is None
