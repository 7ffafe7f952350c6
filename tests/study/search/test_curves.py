"""The two schedulers that promote otherwise than ASHA; what all schedulers have in common is in test_schedulers."""

import numpy as np
import pytest

from benchmarks.schedulers import load_curves
from results.events import EpochFinished, TrialEnded, TrialPromoted, TrialStarted
from study.recipe import BASELINE
from study.search.schedulers import CONTINUE, SCHEDULERS, STOP, Curves, Scheduler, SchedulerSettings, TopK
from study.search.schedulers.curves import head_start, uncertainty


def search(scheduler: Scheduler, curves: list[list[float]], schedules: list[str]) -> dict[int, int]:
    """All trials on one slot; the epochs that each had."""
    had: dict[int, int] = {}

    def train(number: int) -> None:
        decision = CONTINUE
        while decision == CONTINUE:
            had[number] += 1
            metrics = {"val_accuracy": curves[number][had[number] - 1]}
            scheduler.apply(
                EpochFinished(number=number, epoch=had[number], metrics=metrics, seconds=1.0, time_total_s=1.0)
            )
            decision = scheduler.decide(number)
        if decision == STOP:
            scheduler.apply(TrialEnded(number=number, status="completed", reason=None))

    def promote() -> None:
        while (number := scheduler.next_promotion()) is not None:
            assert number not in not_promotable
            scheduler.apply(TrialPromoted(number=number))
            train(number)
            not_promotable.update(scheduler.cannot_be_promoted())

    not_promotable: set[int] = set()
    for number, schedule in enumerate(schedules):
        promote()
        had[number] = 0
        scheduler.apply(TrialStarted(number=number, config={"schedule": schedule}, seed=number))
        train(number)
        not_promotable.update(scheduler.cannot_be_promoted())
    scheduler.no_more_trials()
    promote()
    return had


def lines(ends: list[float], epochs: int = 10) -> list[list[float]]:
    return [[end * epoch / epochs for epoch in range(1, epochs + 1)] for end in ends]


def settings(max_epochs: int, samples: int) -> SchedulerSettings:
    return SchedulerSettings(max_epochs, samples, base=BASELINE.as_dict())


def test_top_k_gives_every_trial_one_epoch_and_the_best_three_all() -> None:
    ends = [0.3, 0.9, 0.1, 0.7, 0.8, 0.2]
    had = search(TopK(settings(10, 6)), lines(ends), ["cosine"] * 6)
    assert had == {0: 1, 1: 10, 2: 1, 3: 10, 4: 10, 5: 1}


def test_the_better_half_passes_the_first_rung_and_no_more_than_five_train_to_the_end() -> None:
    ends = (np.random.default_rng(0).permutation(20) / 20).tolist()
    had = search(Curves(settings(10, 20)), lines(ends), ["constant"] * 20)
    epochs = sorted(had.values())
    assert set(epochs) == {1, 3, 10}
    assert epochs.count(1) >= 8
    assert 3 <= epochs.count(10) <= 6  # one of the first trials may have been promoted before better ones came
    assert had[int(np.argmax(ends))] == 10


def test_trials_that_are_far_behind_are_not_promoted_only_to_fill_the_places() -> None:
    """At the second rung three are close together, and the others are out of reach."""
    close = search(Curves(settings(10, 20)), lines([0.80 + 0.001 * n for n in range(20)]), ["constant"] * 20)
    apart = search(Curves(settings(10, 20)), lines([0.9, 0.5, *[0.1] * 18]), ["constant"] * 20)
    assert sum(close.values()) > sum(apart.values())


@pytest.mark.parametrize("place", [0, 7, 19])
def test_the_best_trial_with_a_slow_start_trains_to_its_end(place: int) -> None:
    """As in the study that stopped a one-cycle recipe at epoch 2, which would have been the best one after ten."""
    curves = lines([0.5 + 0.01 * n for n in range(20)])
    curves[place] = [0.02] * 7 + [0.5, 0.8, 0.95]
    schedules = ["cosine"] * 20
    schedules[place] = "one_cycle"
    had = search(Curves(settings(10, 20)), curves, schedules)
    assert had[place] == 10


def test_schedules_that_rise_have_their_start_behind_them_and_those_that_fall_are_ahead() -> None:
    early = 1 / 27
    one_cycle, constant, cosine = (
        head_start(BASELINE.with_fields({"schedule": name}), early) for name in ("one_cycle", "constant", "cosine")
    )
    assert one_cycle < -0.1
    assert constant == pytest.approx(0.0)
    assert cosine > 0.1
    assert abs(head_start(BASELINE.with_fields({"schedule": "one_cycle"}), 0.9)) < 0.01


def test_the_end_is_the_surer_the_more_of_a_training_is_done() -> None:
    seen = [uncertainty(done) for done in (1 / 27, 1 / 9, 1 / 3, 1.0)]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0.0


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("max_epochs", [1, 2, 3, 4, 27])
@pytest.mark.parametrize("scheduler", [Curves, TopK])
def test_a_search_ends_with_a_completed_trial_whatever_its_size(
    samples: int, max_epochs: int, scheduler: type[Curves] | type[TopK]
) -> None:
    ends = (np.random.default_rng(samples).permutation(samples) / samples).tolist()
    had = search(scheduler(settings(max_epochs, samples)), lines(ends, max_epochs), ["cosine"] * samples)
    assert max(had.values()) == max_epochs


@pytest.mark.parametrize(("name", "share"), [("curves", 1.0), ("asha", 0.8), ("top-k", 1.0), ("none", 1.0)])
@pytest.mark.parametrize(("samples", "max_epochs"), [(3, 5), (10, 10), (20, 10), (20, 27), (40, 10), (20, 1), (20, 2)])
def test_a_search_has_as_many_epochs_as_its_scheduler_expects(
    name: str, share: float, samples: int, max_epochs: int
) -> None:
    curves, chance = load_curves(), np.random.default_rng(0)
    accuracies = np.nan_to_num(curves.accuracies)
    epochs = np.linspace(0, accuracies.shape[1] - 1, max_epochs).round().astype(int)
    inside = []
    for _ in range(10):
        recipes = chance.permutation(len(accuracies))[:samples]
        scheduler = SCHEDULERS[name](settings(max_epochs, samples))
        least, most = scheduler.expected_epochs()
        schedules = [str(curves.configs[recipe].get("schedule", "constant")) for recipe in recipes]
        had = search(scheduler, [accuracies[recipe][epochs].tolist() for recipe in recipes], schedules)
        inside.append(least <= sum(had.values()) <= most)
    assert np.mean(inside) >= share
    assert most <= samples * max_epochs
