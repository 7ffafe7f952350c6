import math
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from study.asha import RecordedASHA, rungs


def trial(number: int) -> SimpleNamespace:
    return SimpleNamespace(trial_id=f"ray_{number}", config={"number": number})


def result(epoch: int, accuracy: float) -> dict[str, float]:
    return {"epoch": epoch, "val_accuracy": accuracy}


@pytest.mark.parametrize(
    ("most", "grace", "factor"), [(10, 1, 3), (9, 1, 3), (27, 1, 3), (30, 2, 4), (5, 5, 2), (81, 3, 3)]
)
def test_our_rungs_are_those_that_rays_asha_compares_at(most: int, grace: int, factor: int) -> None:
    scheduler = ASHAScheduler("epoch", "val_accuracy", "max", most + 1, grace, factor)
    good, bad = SimpleNamespace(trial_id="good"), SimpleNamespace(trial_id="bad")
    scheduler.on_trial_add(None, good)
    for epoch in range(1, most + 1):
        scheduler.on_trial_result(None, good, result(epoch, 0.9))
    stops = []
    for epoch in range(1, most + 1):
        scheduler.on_trial_add(None, bad)
        if scheduler.on_trial_result(None, bad, result(epoch, 0.1)) == TrialScheduler.STOP:
            stops.append(epoch)
        bad.trial_id += "'"
    assert stops[0] == grace
    assert [epoch for epoch in rungs(most, grace, factor) if epoch not in stops] == []


def test_rays_asha_lets_a_nan_trial_run_on_and_ours_stops_it() -> None:
    rays = ASHAScheduler("epoch", "val_accuracy", "max", 10, 1, 3)
    ours = RecordedASHA(10, 1, 3)
    for scheduler in (rays, ours):
        for number in range(2):
            scheduler.on_trial_add(None, trial(number))
        scheduler.on_trial_result(None, trial(0), result(1, 0.5))
    assert rays.on_trial_result(None, trial(1), result(1, math.nan)) == TrialScheduler.CONTINUE
    diverged = {**result(1, math.nan), "diverged": "loss nan at epoch 1, step 3"}
    assert ours.on_trial_result(None, trial(1), diverged) == TrialScheduler.STOP


def test_rungs_filled_from_the_record_decide_as_those_that_lived_through_it() -> None:
    lived, events, decisions = RecordedASHA(9, 1, 3), [], {}
    for number, accuracy in enumerate([0.5, 0.6, 0.4, 0.7, 0.55]):
        events.append({"event": "trial", "number": number})
        lived.on_trial_add(None, trial(number))
        for epoch in (1, 2, 3):
            events.append({"event": "epoch", "number": number, "training_iteration": epoch, "val_accuracy": accuracy})
            decisions[number] = lived.on_trial_result(None, trial(number), result(epoch, accuracy))
            if decisions[number] == TrialScheduler.STOP:
                break
    again = RecordedASHA(9, 1, 3)
    stopped = again.replay(events)
    assert stopped == {number for number, decision in decisions.items() if decision == TrialScheduler.STOP}
    for accuracy in (0.3, 0.58, 0.65, 0.9):
        for scheduler in (lived, again):
            scheduler.on_trial_add(None, trial(99))
        assert lived.on_trial_result(None, trial(99), result(1, accuracy)) == again.on_trial_result(
            None, trial(99), result(1, accuracy)
        )
