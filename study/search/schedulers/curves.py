"""Promotes the trials that have a chance to end best, by a small model of learning curves that knows the schedule.

ASHA compares trials at every rung, also where the leaders are closer to each other than two seeds of one recipe, and so
loses the best one in every third search. Here there are two rungs, both early. From the first one the better half of
all trials is promoted, and from the second one those that may still end best, which then train to their end.

The model predicts where a trial ends from its value at the rung, as a normal distribution:

- The unit is the spread: the standard deviation of all trials' values at that rung.
- The standard deviation of the prediction is `uncertainty(share of the training done)`.
- Its mean is the value at the rung less `head_start`, the advantage that the schedule alone has given so far. A cosine
  schedule is ahead early; a one-cycle schedule is behind, as its learning rate still rises.

The model is rough. So trials with a slow start (those whose schedule is behind) are also ranked among themselves: the
better half of them passes the first rung, and the best of them trains to its end.

The constants were chosen on benchmarks/curves.csv and TaskSet (docs/search-benchmark.md).
"""

import math
from functools import lru_cache

from results.events import Event, TrialStarted
from study.recipe import Recipe
from study.search.schedulers.asha import ASHA, Place, Rung
from study.search.schedulers.scheduler import SchedulerSettings
from study.training.schedules import lr_factor

# A trial with less than this chance to end above the leader of its rung is not promoted, unless too few others are.
MIN_CHANCE = 0.05
# Of all trials, the share that is promoted from the first rung: surely, and with a chance.
PROMOTED_FROM_FIRST = (0.25, 0.5)
# The share that was promoted at most in replays of benchmarks/curves.csv: early on there is little to compare with.
PROMOTED_FROM_FIRST_MOST = 0.7
# How many from the second rung, in the end: at least 3 and at most 5, or so many of a hundred where that is more.
# Before all trials have begun, 5 of a hundred: there is little to compare them with.
FROM_SECOND, PROMOTED_FROM_SECOND_OF_100 = (3, 5), (5, 10)
# Trials of a rung that are looked at for a promotion.
MAX_CANDIDATES = 32
# In spreads of the rung; fitted to the ranks that schedules gain and lose from epoch 1 to 27.
HEAD_START = 0.25
SLOW_START = -0.05
STEPS = 100


def uncertainty(done: float) -> float:
    """Standard deviation of a trial's end, seen at the share `done` of its training, in spreads of its rung."""
    return 0.25 * math.sqrt(1 - done) / math.cbrt(done)


@lru_cache(maxsize=4096)
def head_start(recipe: Recipe, done: float) -> float:
    """How far a trial is ahead at the share `done` of its training because of its schedule alone, in spreads.

    It is proportional to how much higher its mean learning rate was so far than it is over the whole training; negative
    where the rate is still rising.
    """
    so_far, in_all = (
        sum(lr_factor(recipe, share * (step + 0.5) / STEPS) for step in range(STEPS)) for share in (done, 1.0)
    )
    return HEAD_START * (so_far / in_all - 1) * (1 - done) ** 2


class Curves(ASHA):
    """Pauses every trial at two rungs, and promotes those that have a chance to end best."""

    def __init__(self, settings: SchedulerSettings) -> None:
        super().__init__(settings)
        first = settings.grace_period
        second = max(3 * first, round(settings.max_epochs / 9))
        self.rungs = [epoch for epoch in (first, second) if epoch < settings.max_epochs]
        self._rungs = {epoch: Rung() for epoch in self.rungs}
        self._base = Recipe.from_dict(dict(settings.base)) if settings.base else Recipe()
        self._recipes: dict[int, Recipe] = {}
        self._slow: set[int] = set()
        self._groups = {(epoch, slow): Rung() for epoch in self.rungs for slow in (False, True)}

    def apply(self, event: Event) -> None:
        if isinstance(event, TrialStarted) and self.rungs:
            fields = {name: value for name, value in event.config.items() if name in ("schedule", "warmup", "gamma")}
            recipe = self._recipes[event.number] = self._base.with_fields(fields)
            if head_start(recipe, self.rungs[0] / self._settings.max_epochs) < SLOW_START:
                self._slow.add(event.number)
        super().apply(event)

    def chance(self, number: int, epoch: int) -> float:
        """The probability that trial `number` ends better than the one that leads the rung at `epoch`."""
        rung, done = self._rungs[epoch], epoch / self._settings.max_epochs
        ranked, place = rung.ranked, rung.place(number)
        spread = (ranked[(3 * len(ranked)) // 4][0] - ranked[len(ranked) // 4][0]) / 1.349  # of a normal distribution
        leader = ranked[0]
        if place == leader or spread <= 0:
            return 0.5 if place[0] == leader[0] else 0.0
        behind = (place[0] - leader[0]) / spread
        behind += head_start(self._recipes[number], done) - head_start(self._recipes[leader[1]], done)
        return 0.5 * math.erfc(behind / (math.sqrt(2) * uncertainty(done)) / math.sqrt(2))

    def _enter(self, epoch: int, number: int, value: float) -> None:
        super()._enter(epoch, number, value)
        self._groups[epoch, number in self._slow].add(number, value)

    def _pause(self, number: int) -> None:
        super()._pause(number)
        self._groups[self._last[number], number in self._slow].add_paused(number)

    def _unpause(self, number: int) -> None:
        if self._last[number] in self._rungs:
            self._groups[self._last[number], number in self._slow].remove_paused(number)
        super()._unpause(number)

    def _promotion_at(self, epoch: int, closed: bool) -> int | None:
        rung, slow = self._rungs[epoch], self._groups[epoch, True].paused
        if closed and rung.rank(rung.paused[0]) <= self._first_able(rung):
            return rung.paused[0][1]  # all better ones have failed
        candidates = [*rung.paused[:MAX_CANDIDATES], *slow[:1]]
        return next((place[1] for place in candidates if self._is_promoted(place, epoch, closed)), None)

    def _is_promoted(self, place: Place, epoch: int, closed: bool) -> bool:
        number, round_off = place[1], math.ceil if closed else math.floor
        group = self._groups[epoch, number in self._slow]
        if epoch == self.rungs[0] and len(self.rungs) > 1:
            rank, (surely, perhaps) = (
                group.rank(place),
                (round_off(share * len(group.ranked)) for share in PROMOTED_FROM_FIRST),
            )
        else:
            trials = len(self._rungs[self.rungs[0]].ranked)
            rank, (surely, perhaps) = self._rungs[epoch].rank(place), self._from_second(trials)
            if not closed:
                surely = perhaps = math.floor(PROMOTED_FROM_SECOND_OF_100[0] * trials / 100)
            elif number in self._slow and group.rank(place) == 0:
                return True
        return rank < surely or (rank < perhaps and self.chance(number, epoch) >= MIN_CHANCE)

    def _from_second(self, trials: int) -> tuple[int, int]:
        surely, perhaps = (
            max(few, math.ceil(share * trials / 100))
            for few, share in zip(FROM_SECOND, PROMOTED_FROM_SECOND_OF_100, strict=True)
        )
        return surely, perhaps

    def cannot_be_promoted(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for (epoch, slow), group in self._groups.items():
            begun = len(self._slow) if slow else len(self._last) - len(self._slow)
            trials = begun if self._all_begun else self._settings.samples
            for place in reversed(group.paused):
                if epoch == self.rungs[0] and len(self.rungs) > 1:
                    cannot_be_promoted = group.rank(place) >= math.ceil(PROMOTED_FROM_FIRST[1] * trials)
                else:
                    most = self._from_second(len(self._last) if self._all_begun else self._settings.samples)[1]
                    cannot_be_promoted = self._rungs[epoch].rank(place) >= most and not (
                        slow and group.rank(place) == 0
                    )
                if not cannot_be_promoted:
                    break
                found[place[1]] = epoch
        return found

    def expected_epochs(self) -> tuple[float, float]:
        """From as few promotions as the rules allow to as many, and those that turn out to be too early."""
        samples = self._settings.samples
        shares, before, least, most = (samples, samples), 0, 0.0, 0.0
        for rung in [*self.rungs, self._settings.max_epochs]:
            least += shares[0] * (rung - before)
            most += shares[1] * (rung - before)
            if len(self.rungs) > 1 and rung == self.rungs[0]:
                shares = (
                    math.ceil(PROMOTED_FROM_FIRST[0] * samples),
                    min(samples, math.ceil(PROMOTED_FROM_FIRST_MOST * samples) + 1),
                )
            else:
                surely, perhaps = self._from_second(samples)
                shares = (min(surely, shares[0]), min(perhaps + 1, shares[1]))
            before = rung
        return least, most
