"""ASHA as published: a trial pauses at each rung until it is among the best there, then continues.

Li et al. 2020, arXiv:1810.05934, algorithm 2. Ray's ASHAScheduler only stops trials: its first ones, which have nobody
to be compared with, run to the end (ray issue 44256). What that costs is measured by benchmarks.schedulers.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence

from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialPromoted, TrialStarted
from study.search.schedulers.scheduler import CONTINUE, PAUSE, STOP, Decision, SchedulerSettings, score


def rungs(max_epochs: int, grace_period: int, reduction_factor: int) -> list[int]:
    """The epochs at which ASHA compares trials, ascending: grace_period x reduction_factor^k, below max_epochs."""
    found, epoch = [], grace_period
    while epoch < max_epochs:
        found.append(epoch)
        epoch *= reduction_factor
    return found


TOO_EARLY = 2.0  # times the epochs that the shares alone would give: 9 of 10 replays of benchmarks/curves.csv had fewer

Place = tuple[float, int]  # the negated score and the trial's number: the best one sorts first


class Rung:
    """The trials that have reached one rung, best first, and those of them that are paused there.

    Both lists stay sorted, so that no question has to look at every trial.
    """

    def __init__(self) -> None:
        self.ranked: list[Place] = []
        self.paused: list[Place] = []
        self._places: dict[int, Place] = {}

    def add(self, number: int, score: float) -> None:
        """Enters the score of trial `number`; a trial that was trained again replaces its own."""
        if number in self._places:
            self.remove_paused(number)
            self.ranked.remove(self._places[number])
        self._places[number] = (-score, number)
        insort(self.ranked, self._places[number])

    def add_paused(self, number: int) -> None:
        place = self._places[number]
        if not self._is_paused(place):
            insort(self.paused, place)

    def remove_paused(self, number: int) -> None:
        if number in self._places and self._is_paused(place := self._places[number]):
            self.paused.pop(bisect_left(self.paused, place))

    def place(self, number: int) -> Place:
        return self._places[number]

    def rank(self, place: Place) -> int:
        """How many trials are better."""
        return bisect_left(self.ranked, place)

    def _is_paused(self, place: Place) -> bool:
        at = bisect_left(self.paused, place)
        return at < len(self.paused) and self.paused[at] == place


class ASHA:
    """Pauses a trial at a rung unless it is among the best 1/reduction_factor of those that have reached it.

    At a rung that no other trial can reach any more, as all have begun, the share is rounded up: a search ends with a
    completed trial, and on recorded curves with half the regret for 2% more epochs (docs/lab-notes.md).
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self.rungs: Sequence[int] = rungs(settings.max_epochs, settings.grace_period, settings.reduction_factor)
        self._rungs = {epoch: Rung() for epoch in self.rungs}
        self._last: dict[int, int] = {}  # the last epoch of each trial that has begun
        self._running: set[int] = set()
        self._ended: set[int] = set()
        self._decisions: dict[int, Decision] = {}
        self._all_begun = False

    def apply(self, event: Event) -> None:
        number = event.number
        match event:
            case TrialStarted():
                self._last[number] = 0
                self._running.add(number)
                self._decisions[number] = CONTINUE
            case EpochFinished():
                self._finish_epoch(event)
            case TrialPaused() if self._last[number] in self._rungs:
                self._pause(number)
            case TrialPromoted():
                self._unpause(number)
            case TrialEnded():
                self._unpause(number)
                self._running.discard(number)
                self._ended.add(number)
                self._decisions.pop(number, None)

    def _finish_epoch(self, event: EpochFinished) -> None:
        number, value = event.number, score(event, self._settings.metric)
        self._unpause(number)
        self._last[number] = event.epoch
        if event.epoch >= self._settings.max_epochs or math.isnan(value):
            self._decisions[number] = STOP
        elif event.epoch in self._rungs:
            self._enter(event.epoch, number, value)
            self._pause(number)
            if self.next_promotion() == number:
                self._unpause(number)

    def _enter(self, epoch: int, number: int, value: float) -> None:
        self._rungs[epoch].add(number, value)

    def _pause(self, number: int) -> None:
        self._running.discard(number)
        self._rungs[self._last[number]].add_paused(number)
        self._decisions[number] = PAUSE

    def _unpause(self, number: int) -> None:
        if self._last[number] in self._rungs:
            self._rungs[self._last[number]].remove_paused(number)
        self._running.add(number)
        self._decisions[number] = CONTINUE

    def no_more_trials(self) -> None:
        self._all_begun = True

    def decide(self, number: int) -> Decision:
        return self._decisions[number]

    def next_promotion(self) -> int | None:
        """The trial to promote at the highest rung that has one."""
        promotions: list[int] = []
        for epoch, rung in self._rungs.items():
            closed = self._all_begun and not promotions and all(self._last[each] >= epoch for each in self._running)
            if rung.paused and (number := self._promotion_at(epoch, closed)) is not None:
                promotions.append(number)
        return promotions[-1] if promotions else None

    def _promotion_at(self, epoch: int, closed: bool) -> int | None:
        """The paused trial to promote from the rung at `epoch`; `closed` says that no other trial can reach it."""
        rung, factor = self._rungs[epoch], self._settings.reduction_factor
        reached = len(rung.ranked)
        share = max(-(-reached // factor), self._first_able(rung) + 1) if closed else reached // factor
        best = rung.paused[0]
        return best[1] if rung.rank(best) < share else None

    def _first_able(self, rung: Rung) -> int:
        """The rank of the best trial that has not failed: it keeps a search from ending without a completed trial."""
        return next((rank for rank, (_, number) in enumerate(rung.ranked) if self._is_able(number)), 0)

    def _is_able(self, number: int) -> bool:
        return number not in self._ended or self._last[number] >= self._settings.max_epochs

    def cannot_be_promoted(self) -> dict[int, int]:
        begin_at_most = len(self._last) if self._all_begun else self._settings.samples
        found: dict[int, int] = {}
        for epoch, rung in self._rungs.items():
            most = self._most_promoted(epoch, begin_at_most)
            if len(rung.ranked) > most:
                found |= {number: epoch for _, number in rung.paused[bisect_left(rung.paused, rung.ranked[most]) :]}
        return found

    def _most_promoted(self, epoch: int, trials: int) -> int:
        """How many of so many trials the rung at `epoch` promotes at most, unless some of them fail."""
        return -(-trials // self._settings.reduction_factor)

    def likeliest_to_be_promoted(self, count: int) -> set[int]:
        """The paused trials that need the fewest further trials at their rung to be promoted.

        Rungs are not weighted: at a higher rung the wait is longer, but the training that is kept is longer as well.
        """
        factor = self._settings.reduction_factor
        waits = [
            ((rung.rank(place) + 1) * factor - len(rung.ranked), place[1])
            for rung in self._rungs.values()
            for place in rung.paused[:count]
        ]
        return {number for _, number in sorted(waits)[:count]}

    def paused(self) -> dict[int, int]:
        return {number: epoch for epoch, rung in self._rungs.items() for _, number in rung.paused}

    def expected_epochs(self) -> tuple[float, float]:
        """As many as the shares say, and with promotions that turn out to be too early."""
        settings, share, before, expected = self._settings, 1.0, 0, 0.0
        for rung in [*self.rungs, settings.max_epochs]:
            expected += share * (rung - before)
            share, before = share / settings.reduction_factor, rung
        most = min(float(settings.max_epochs), TOO_EARLY * expected)
        return settings.samples * expected, settings.samples * most
