import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialPromoted, TrialRetried, TrialStarted
from study.search.schedulers import (
    ASHA,
    CONTINUE,
    PAUSE,
    SCHEDULERS,
    STOP,
    NoScheduler,
    Scheduler,
    SchedulerSettings,
    rungs,
)
from study.search.schedulers.asha import Rung
from study.training.metrics import Metric


def settings(max_epochs: int, reduction_factor: int, samples: int, metric: Metric | None = None) -> SchedulerSettings:
    chosen = {} if metric is None else {"metric": metric}
    return SchedulerSettings(max_epochs, samples, reduction_factor=reduction_factor, **chosen)  # type: ignore[arg-type]


def started(number: int) -> TrialStarted:
    return TrialStarted(number=number, config={"lr": 0.1}, seed=number)


def finished(number: int, epoch: int, value: float | None, metric: str = "val_accuracy") -> EpochFinished:
    return EpochFinished(number=number, epoch=epoch, metrics={metric: value}, seconds=1.0, time_total_s=float(epoch))


class Study:
    """Trials on one slot, as a searcher runs them; what happens is in `events`."""

    def __init__(self, scheduler: Scheduler, max_epochs: int, events: list[Event] | None = None) -> None:
        self.scheduler, self.max_epochs = scheduler, max_epochs
        self.events: list[Event] = []
        self.had: dict[int, int] = {}
        self.accuracies: dict[int, float] = {}
        for event in events or []:
            self.apply(event)
            if isinstance(event, EpochFinished):
                self.had[event.number] = event.epoch

    def apply(self, event: Event) -> None:
        self.events.append(event)
        self.scheduler.apply(event)

    def train(self, number: int) -> int:
        """Runs the trial until it is paused or over; the last epoch it had. An epoch adds 0.01 to its accuracy."""
        if number not in self.had:
            self.had[number] = 0
            self.apply(started(number))
        else:
            self.apply(TrialPromoted(number=number))
        decision = CONTINUE
        while decision == CONTINUE:
            self.had[number] += 1
            self.apply(finished(number, self.had[number], self.accuracies[number] + self.had[number] / 100))
            decision = self.scheduler.decide(number)
        if decision == PAUSE:
            self.apply(TrialPaused(number=number))
        else:
            self.apply(TrialEnded(number=number, status="completed", reason=None))
        return self.had[number]

    def begin(self, accuracies: list[float]) -> None:
        """One new trial after the other, promotions first."""
        for accuracy in accuracies:
            self.promote_all()
            number = len(self.accuracies)
            self.accuracies[number] = accuracy
            self.train(number)

    def promote_all(self) -> None:
        while (promoted := self.scheduler.next_promotion()) is not None:
            self.train(promoted)

    def run(self, accuracies: list[float]) -> dict[int, int]:
        """A whole search; the epochs that each trial had."""
        self.begin(accuracies)
        self.scheduler.no_more_trials()
        self.promote_all()
        return self.had


def asha(samples: int, max_epochs: int = 9, factor: int = 3) -> Study:
    return Study(ASHA(settings(max_epochs, factor, samples)), max_epochs)


def rays_result(epoch: int, accuracy: float) -> dict[str, float]:
    return {"epoch": epoch, "val_accuracy": accuracy}


@pytest.mark.parametrize(
    ("most", "grace", "factor"), [(10, 1, 3), (9, 1, 3), (27, 1, 3), (30, 2, 4), (5, 5, 2), (81, 3, 3)]
)
def test_our_rungs_are_those_that_rays_asha_compares_at(most: int, grace: int, factor: int) -> None:
    scheduler = ASHAScheduler("epoch", "val_accuracy", "max", most, grace, factor)
    good, bad = SimpleNamespace(trial_id="good"), SimpleNamespace(trial_id="bad")
    scheduler.on_trial_add(None, good)
    for epoch in range(1, most):
        scheduler.on_trial_result(None, good, rays_result(epoch, 0.9))
    stops = []
    for epoch in range(1, most):
        scheduler.on_trial_add(None, bad)
        if scheduler.on_trial_result(None, bad, rays_result(epoch, 0.1)) == TrialScheduler.STOP:
            stops.append(epoch)
        bad.trial_id += "'"
    assert [epoch for epoch in rungs(most, grace, factor) if epoch not in stops] == []
    assert len(rungs(most, grace, factor)) == 0 or stops[0] == grace


def test_rays_asha_trains_the_first_trials_to_their_end_and_ours_pauses_them() -> None:
    rays, ours = ASHAScheduler("epoch", "val_accuracy", "max", 9, 1, 3), asha(samples=9)
    trial = SimpleNamespace(trial_id="0", config={"number": 0})
    rays.on_trial_add(None, trial)
    decisions = [
        rays.on_trial_result(None, trial, {**rays_result(epoch, 0.1), "training_iteration": epoch})
        for epoch in range(1, 9)
    ]
    assert set(decisions) == {TrialScheduler.CONTINUE}
    ours.begin([0.1])
    assert ours.had == {0: 1}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_trial_whose_metric_is_no_finite_number_is_stopped(name: str, value: float | None) -> None:
    scheduler = SCHEDULERS[name](settings(9, 3, samples=9))
    scheduler.apply(started(0))
    scheduler.apply(finished(0, 1, value))
    assert scheduler.decide(0) == STOP
    scheduler.apply(TrialEnded(number=0, status="diverged", reason="loss nan"))
    scheduler.no_more_trials()
    assert scheduler.next_promotion() is None
    assert scheduler.paused() == {}


def test_without_a_scheduler_every_trial_trains_to_its_end() -> None:
    study = Study(NoScheduler(settings(4, 3, samples=3)), 4)
    assert study.run([0.3, 0.1, 0.2]) == {0: 4, 1: 4, 2: 4}
    assert study.scheduler.rungs == ()


def test_the_best_third_of_a_rung_is_promoted_whoever_came_first() -> None:
    had = asha(samples=9).run([0.3, 0.1, 0.2, 0.6, 0.5, 0.4, 0.9, 0.8, 0.7])
    # At rung 1: 0 of the first three, 3 and 4 of the first six, then 6, 7 and 8. At rung 3: the best third.
    assert had == {0: 3, 1: 1, 2: 1, 3: 9, 4: 3, 5: 1, 6: 9, 7: 9, 8: 3}


def test_where_a_smaller_metric_is_better_the_smallest_third_is_promoted() -> None:
    loss = Metric("loss", "min", lambda labels, probabilities: 0.0)
    scheduler = ASHA(settings(9, 3, samples=9, metric=loss))
    for number, value in enumerate([0.5, 0.2, 0.4]):
        scheduler.apply(started(number))
        scheduler.apply(finished(number, 1, value, "val_loss"))
    assert scheduler.next_promotion() == 1


def test_a_better_trial_that_comes_later_does_not_take_back_what_an_earlier_one_was_given() -> None:
    study = asha(samples=9)
    study.begin([0.3, 0.1, 0.2])
    assert study.scheduler.next_promotion() == 0
    assert study.train(0) == 3
    study.begin([0.9])  # the best of four, of which one is promoted; 0 has been already
    assert study.had[3] == 3
    assert study.scheduler.paused() == {0: 3, 1: 1, 2: 1, 3: 3}


def test_where_no_other_trial_can_come_the_share_that_is_promoted_is_rounded_up() -> None:
    had = asha(samples=7).run([0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    # At rung 1 a third of seven is two, and then three; at rung 3 a third of three is one.
    assert had == {0: 9, 1: 3, 2: 3, 3: 1, 4: 1, 5: 1, 6: 1}


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_search_ends_with_a_completed_trial_however_few_there_are(samples: int, factor: int) -> None:
    accuracies = np.random.default_rng(samples).permutation(samples) / 100
    had = asha(samples, factor=factor).run(accuracies.tolist())
    assert max(had.values()) == 9
    assert had[int(accuracies.argmax())] == 9


def test_the_next_best_is_promoted_to_the_end_where_the_best_one_fails() -> None:
    study = asha(samples=6)
    study.begin([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    study.scheduler.no_more_trials()
    assert study.scheduler.next_promotion() == 1
    study.train(1)
    assert study.scheduler.paused() == {0: 3, 1: 3, 2: 1, 3: 1, 4: 1, 5: 1}
    study.apply(TrialPromoted(number=0))
    study.apply(TrialRetried(number=0, reason="a worker died"))
    assert study.scheduler.next_promotion() is None
    study.apply(TrialEnded(number=0, status="failed", reason="a worker died"))
    assert study.scheduler.next_promotion() == 1
    assert study.train(1) == 9
    assert study.scheduler.next_promotion() is None


def searches(seed: int) -> Iterator[tuple[int, list[float]]]:
    random = np.random.default_rng(seed)
    for _ in range(200):
        samples = int(random.integers(2, 15))
        yield samples, (random.permutation(samples) / 100).tolist()


def test_a_trial_that_cannot_be_promoted_never_is() -> None:
    for samples, accuracies in searches(0):
        study = asha(samples)
        named: set[int] = set()
        for accuracy in accuracies:
            while (promoted := study.scheduler.next_promotion()) is not None:
                assert promoted not in named
                study.train(promoted)
            study.begin([accuracy])
            named |= set(study.scheduler.cannot_be_promoted())
        study.scheduler.no_more_trials()
        while (promoted := study.scheduler.next_promotion()) is not None:
            assert promoted not in named
            study.train(promoted)
        assert samples < 6 or named


def test_the_likeliest_to_be_promoted_wait_for_the_fewest_others() -> None:
    study = asha(samples=30)
    study.begin([0.5, 0.1, 0.3, 0.4, 0.2])
    # 0 was promoted, and waits at rung 3 for two others. At rung 1, of five: 3, 2, 4, 1 wait for one, four, seven, ten.
    assert study.scheduler.paused() == {0: 3, 1: 1, 2: 1, 3: 1, 4: 1}
    likeliest = study.scheduler.likeliest_to_be_promoted
    assert [likeliest(count) for count in (0, 1, 2, 3)] == [set(), {3}, {3, 0}, {3, 0, 2}]
    assert likeliest(9) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_filled_from_the_events_at_any_moment_decides_as_the_one_that_lived_through_it(name: str) -> None:
    accuracies = [0.5, 0.6, 0.4, 0.7, 0.55, 0.3, 0.8, 0.2, 0.58, 0.65, 0.9]
    lived = Study(SCHEDULERS[name](settings(9, 3, samples=11)), 9)
    lived.begin(accuracies)
    for moment in range(len(lived.events)):
        again = SCHEDULERS[name](settings(9, 3, samples=11))
        for event in lived.events[:moment]:
            again.apply(event)
        match lived.events[moment]:
            case TrialPromoted(number=number):
                assert again.next_promotion() == number
            case TrialPaused(number=number):
                assert again.decide(number) == PAUSE
            case TrialEnded(number=number):
                assert again.decide(number) == STOP
            case EpochFinished(number=number):
                assert again.decide(number) == CONTINUE


def test_a_question_does_not_look_at_every_trial() -> None:
    """Ten times as many trials, about the same work: what the rungs' lists are compared with is counted."""

    class Counted(float):
        compared = 0

        def __lt__(self, other: float) -> bool:
            Counted.compared += 1
            return float(self) < float(other)

        def __neg__(self) -> "Counted":
            return Counted(-float(self))

    def comparisons(trials: int) -> int:
        scheduler = ASHA(settings(64, 2, trials))
        for number, value in enumerate(np.random.default_rng(0).permutation(trials) / trials):
            scheduler.apply(started(number))
            scheduler.apply(finished(number, 1, Counted(value)))
            scheduler.apply(TrialPaused(number=number))
        scheduler.no_more_trials()
        Counted.compared = 0
        assert scheduler.next_promotion() is not None
        scheduler.likeliest_to_be_promoted(4)
        return Counted.compared

    assert comparisons(1000) <= comparisons(100) + 100


def test_a_scheduler_is_added_in_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class FirstOnly(NoScheduler):
        def decide(self, number: int) -> str:  # type: ignore[override]
            return super().decide(number) if number == 0 else STOP

    monkeypatch.setitem(SCHEDULERS, "first-only", FirstOnly)  # type: ignore[arg-type]
    study = Study(SCHEDULERS["first-only"](settings(3, 2, samples=2)), 3)
    assert study.run([0.1, 0.9]) == {0: 3, 1: 1}


@pytest.mark.parametrize("name", ["asha", "curves", "top-k"])
def test_an_event_looks_at_no_more_trials_in_a_large_search(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = list[int]()
    rank = Rung.rank
    monkeypatch.setattr(Rung, "rank", lambda self, place: (ranks.append(place[1]), rank(self, place))[1])
    looked_at = []
    for trials in (100, 2000):
        scheduler = SCHEDULERS[name](settings(9, 2, 10 * trials))
        random = np.random.default_rng(0)
        for number in range(trials):
            scheduler.apply(started(number))
            scheduler.apply(finished(number, 1, float(random.random())))
            if scheduler.decide(number) == PAUSE:
                scheduler.apply(TrialPaused(number=number))
        ranks.clear()
        scheduler.next_promotion()
        scheduler.cannot_be_promoted()
        scheduler.likeliest_to_be_promoted(16)
        looked_at.append(len(ranks))
    assert looked_at[1] <= looked_at[0] + 20
