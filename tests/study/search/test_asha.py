import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from study.search.asha import ASHA, rungs


def trial(number: int) -> SimpleNamespace:
    return SimpleNamespace(trial_id=f"ray_{number}", config={"number": number})


def result(epoch: int, accuracy: float) -> dict[str, float]:
    return {"epoch": epoch, "val_accuracy": accuracy}


def train(asha: ASHA, number: int, accuracy: float, max_epochs: int, events: list[dict[str, Any]] | None = None) -> int:
    """Runs the trial until it rests or is through; the last epoch it had."""
    asha.on_trial_add(None, trial(number))
    for epoch in range(1, max_epochs + 1):
        if epoch <= asha._last[number]:
            continue
        if events is not None:
            events.append(
                {
                    "event": "epoch",
                    "number": number,
                    "training_iteration": epoch,
                    "val_accuracy": accuracy + epoch / 100,
                }
            )
        if asha.on_trial_result(None, trial(number), result(epoch, accuracy + epoch / 100)) == TrialScheduler.STOP:
            break
    return epoch


def whole_search(asha: ASHA, accuracies: list[float], max_epochs: int) -> dict[int, int]:
    """All trials on one slot, as the searcher would have it; the epochs each had."""
    had: dict[int, int] = {}
    for number, accuracy in enumerate(accuracies):
        while (promoted := asha.promotable()) is not None:
            had[promoted] = train(asha, promoted, accuracies[promoted], max_epochs)
        had[number] = train(asha, number, accuracy, max_epochs)
    asha.no_more_trials()
    while (promoted := asha.promotable()) is not None:
        had[promoted] = train(asha, promoted, accuracies[promoted], max_epochs)
    return had


@pytest.mark.parametrize(
    ("most", "grace", "factor"), [(10, 1, 3), (9, 1, 3), (27, 1, 3), (30, 2, 4), (5, 5, 2), (81, 3, 3)]
)
def test_our_rungs_are_those_that_rays_asha_compares_at(most: int, grace: int, factor: int) -> None:
    scheduler = ASHAScheduler("epoch", "val_accuracy", "max", most, grace, factor)
    good, bad = SimpleNamespace(trial_id="good"), SimpleNamespace(trial_id="bad")
    scheduler.on_trial_add(None, good)
    for epoch in range(1, most):
        scheduler.on_trial_result(None, good, result(epoch, 0.9))
    stops = []
    for epoch in range(1, most):
        scheduler.on_trial_add(None, bad)
        if scheduler.on_trial_result(None, bad, result(epoch, 0.1)) == TrialScheduler.STOP:
            stops.append(epoch)
        bad.trial_id += "'"
    assert [epoch for epoch in rungs(most, grace, factor) if epoch not in stops] == []
    assert len(rungs(most, grace, factor)) == 0 or stops[0] == grace


def test_rays_asha_trains_the_first_trials_to_their_end_and_ours_lets_them_rest() -> None:
    rays, ours = ASHAScheduler("epoch", "val_accuracy", "max", 9, 1, 3), ASHA(9, 1, 3, samples=9)
    rays.on_trial_add(None, trial(0))
    decisions = [
        rays.on_trial_result(None, trial(0), {**result(epoch, 0.1), "training_iteration": epoch})
        for epoch in range(1, 9)
    ]
    assert set(decisions) == {TrialScheduler.CONTINUE}
    assert train(ours, 0, 0.1, 9) == 1


def test_rays_asha_lets_a_nan_trial_run_on_and_ours_stops_it_for_good() -> None:
    rays, ours = ASHAScheduler("epoch", "val_accuracy", "max", 10, 1, 3), ASHA(10, 1, 3, samples=9)
    for number in range(2):
        rays.on_trial_add(None, trial(number))
    rays.on_trial_result(None, trial(0), result(1, 0.5))
    assert rays.on_trial_result(None, trial(1), result(1, math.nan)) == TrialScheduler.CONTINUE
    ours.on_trial_add(None, trial(0))
    diverged = {**result(1, math.nan), "diverged": "loss nan at epoch 1, step 3"}
    assert ours.on_trial_result(None, trial(0), diverged) == TrialScheduler.STOP
    ours.no_more_trials()
    assert ours.promotable() is None
    assert ours.paused() == {}


def test_the_best_third_of_a_rung_goes_on_whoever_came_first() -> None:
    had = whole_search(ASHA(9, 1, 3, samples=9), [0.3, 0.1, 0.2, 0.6, 0.5, 0.4, 0.9, 0.8, 0.7], 9)
    # At rung 1 there go on: 0 of the first three, 3 and 4 of the first six, then 6, 7 and 8. At rung 3: the best third.
    assert had == {0: 3, 1: 1, 2: 1, 3: 9, 4: 3, 5: 1, 6: 9, 7: 9, 8: 3}


def test_a_better_trial_that_comes_later_does_not_take_back_what_an_earlier_one_was_given() -> None:
    asha = ASHA(9, 1, 3, samples=9)
    for number, accuracy in enumerate([0.3, 0.1, 0.2]):
        train(asha, number, accuracy, 9)
    assert asha.promotable() == 0
    assert train(asha, 0, 0.3, 9) == 3
    assert train(asha, 3, 0.9, 9) == 3  # the best of four, of which one goes on; 0 has gone already
    assert asha.paused() == {0: 3, 1: 1, 2: 1, 3: 3}


def test_where_no_other_trial_can_come_the_share_that_goes_on_is_rounded_up() -> None:
    had = whole_search(ASHA(9, 1, 3, samples=7), [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 9)
    # At rung 1 a third of seven is two, and then three; at rung 3 a third of three is one.
    assert had == {0: 9, 1: 3, 2: 3, 3: 1, 4: 1, 5: 1, 6: 1}


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_search_ends_with_a_whole_trial_however_few_there_are(samples: int, factor: int) -> None:
    accuracies = np.random.default_rng(samples).permutation(samples) / 100
    had = whole_search(ASHA(9, 1, factor, samples), accuracies.tolist(), 9)
    assert max(had.values()) == 9
    assert had[int(accuracies.argmax())] == 9


def test_the_next_best_goes_on_to_the_end_where_the_best_one_fails() -> None:
    asha = ASHA(9, 1, 3, samples=6)
    for number, accuracy in enumerate([0.6, 0.5, 0.4, 0.3, 0.2, 0.1]):
        while (promoted := asha.promotable()) is not None:
            train(asha, promoted, 0.6 - promoted / 10, 9)
        train(asha, number, accuracy, 9)
    asha.no_more_trials()
    assert asha.promotable() == 1
    train(asha, 1, 0.5, 9)
    assert asha.paused() == {0: 3, 1: 3, 2: 1, 3: 1, 4: 1, 5: 1}
    asha.on_trial_add(None, trial(0))
    asha.on_trial_error(None, trial(0))
    assert asha.promotable() == 1
    assert train(asha, 1, 0.5, 9) == 9
    assert asha.promotable() is None


def test_hopeless_trials_are_those_that_no_future_could_promote() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        samples = int(random.integers(2, 15))
        accuracies = random.permutation(samples) / 100
        asha = ASHA(9, 1, 3, samples)
        said: set[int] = set()
        had: dict[int, int] = {}
        for number in range(samples):
            while (promoted := asha.promotable()) is not None:
                assert promoted not in said
                had[promoted] = train(asha, promoted, accuracies[promoted], 9)
            had[number] = train(asha, number, accuracies[number], 9)
            said |= set(asha.cannot_be_promoted())
        asha.no_more_trials()
        while (promoted := asha.promotable()) is not None:
            assert promoted not in said
            train(asha, promoted, accuracies[promoted], 9)
        assert samples < 6 or said


def test_the_likeliest_to_be_promoted_wait_for_the_fewest_others() -> None:
    asha = ASHA(9, 1, 3, samples=30)
    for number, accuracy in enumerate([0.5, 0.1, 0.3, 0.4, 0.2]):
        while (promoted := asha.promotable()) is not None:
            train(asha, promoted, 0.5, 9)
        train(asha, number, accuracy, 9)
    # 0 was promoted, and waits at rung 3 for two others. At rung 1, of five: 3, 2, 4, 1 wait for one, four, seven, ten.
    assert asha.paused() == {0: 3, 1: 1, 2: 1, 3: 1, 4: 1}
    assert [asha.likeliest_to_be_promoted(count) for count in (0, 1, 2, 3)] == [set(), {3}, {3, 0}, {3, 0, 2}]
    assert asha.likeliest_to_be_promoted(9) == {0, 1, 2, 3, 4}


def test_rungs_filled_from_the_record_decide_as_those_that_lived_through_it() -> None:
    accuracies = [0.5, 0.6, 0.4, 0.7, 0.55, 0.3, 0.8]
    events: list[dict[str, Any]] = []
    lived = ASHA(9, 1, 3, samples=12)
    for number, accuracy in enumerate(accuracies):
        while (promoted := lived.promotable()) is not None:
            train(lived, promoted, accuracies[promoted], 9, events)
        events.append({"event": "trial", "number": number})
        train(lived, number, accuracy, 9, events)
    again = ASHA(9, 1, 3, samples=12)
    again.replay(events)
    assert again.paused() == lived.paused()
    assert again.promotable() == lived.promotable()
    for number, accuracy in enumerate([0.3, 0.58, 0.65, 0.9], len(accuracies)):
        assert train(lived, number, accuracy, 9) == train(again, number, accuracy, 9)
        assert again.promotable() == lived.promotable()


def test_the_end_of_a_search_of_a_thousand_trials_takes_no_longer_than_its_trials() -> None:
    asha = ASHA(64, 1, 2, samples=1000)
    for number, accuracy in enumerate(np.random.default_rng(0).permutation(1000) / 1000):
        train(asha, number, float(accuracy), 1)
    asha.no_more_trials()
    looked = 0

    class Counting(dict[int, int]):
        def __getitem__(self, number: int) -> int:
            nonlocal looked
            looked += 1
            return super().__getitem__(number)

    asha._last = Counting(asha._last)
    assert asha.promotable() is not None
    assert looked < 20 * 1000


def test_an_epoch_that_a_checkpoint_brings_again_is_not_counted_again() -> None:
    asha = ASHA(9, 1, 3, samples=9)
    for number, accuracy in enumerate([0.3, 0.1, 0.2]):
        train(asha, number, accuracy, 9)
    asha.on_trial_add(None, trial(0))
    assert asha.on_trial_result(None, trial(0), result(1, 0.31)) == TrialScheduler.CONTINUE
    assert asha.on_trial_result(None, trial(0), result(2, 0.32)) == TrialScheduler.CONTINUE
