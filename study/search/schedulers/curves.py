"""Promotes the trials that have a chance to end best, by a small model of learning curves that knows the schedule.

ASHA compares trials at every rung, also where the leaders are closer to each other than two seeds of one recipe, and
loses the best one. Here there are two rungs, early ones: the better half of all trials is promoted from the first, and
those that may still end best train from the second to their end.

Where a trial ends, compared with another one that is at the same epoch, is a normal distribution around what is seen.
In units of the spread of all trials at the rung, its standard deviation is `uncertainty(share of the training done)`.
Its mean is shifted for what the schedule has still to give (`head_start`): after one epoch, a one-cycle schedule has
hardly begun to learn, and a cosine has had more than its share. Both were fitted by eye to the curves of
benchmarks/curves.csv and to TaskSet (docs/search-benchmark.md).
"""

import math

from results.events import Event, TrialStarted
from study.recipe import Recipe
from study.search.schedulers.asha import ASHA, Rung
from study.search.schedulers.scheduler import SchedulerSettings
from study.training.schedules import lr_factor

# A trial with less than this chance to end above the leader of its rung is not promoted, unless too few others are.
CHANCE = 0.05
# The smallest and largest shares of all trials that are promoted from the first and from the second rung.
SHARES = ((0.25, 0.5), (0.15, 0.25))
# The same while other trials may still come: few train to the end before there is much to compare them with.
SHARES_AT_FIRST = ((0.25, 0.5), (0.1, 0.1))
# Trials of a rung that are looked at for a promotion.
LOOKED_AT = 32
HEAD_START = 0.25
STEPS = 100


def uncertainty(done: float) -> float:
    """Standard deviation of a trial's end, seen at the share `done` of its training, in spreads of its rung."""
    return 0.25 * math.sqrt(1 - done) / math.cbrt(done)


def head_start(recipe: Recipe, done: float) -> float:
    """How far a trial is ahead at the share `done` of its training because of its schedule alone, in spreads.

    It is proportional to how much more of the sum of all learning rates it has had than of its epochs; negative where
    the rate is still rising.
    """
    rates = [lr_factor(recipe, step / STEPS) for step in range(STEPS)]
    had = sum(rates[: round(done * STEPS)]) / sum(rates)
    return HEAD_START * (had / done - 1) * (1 - done) ** 2


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

    def apply(self, event: Event) -> None:
        if isinstance(event, TrialStarted):
            fields = {name: value for name, value in event.config.items() if name in ("schedule", "warmup", "gamma")}
            self._recipes[event.number] = self._base.with_fields(fields)
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

    def _promotion_at(self, epoch: int, closed: bool) -> int | None:
        rung, place = self._rungs[epoch], self.rungs.index(epoch)
        trials = len(self._rungs[self.rungs[0]].ranked)
        if closed:
            surely, perhaps = (math.ceil(share * trials) for share in SHARES[place])
            surely = max(surely, self._first_able(rung) + 1)
        else:
            surely, perhaps = (math.floor(share * trials) for share in SHARES_AT_FIRST[place])
        for each in rung.paused[:LOOKED_AT]:
            rank = rung.rank(each)
            if rank < surely or (rank < perhaps and self.chance(each[1], epoch) >= CHANCE):
                return each[1]
        return None

    def _most_promoted(self, epoch: int, trials: int) -> int:
        return math.ceil(SHARES[self.rungs.index(epoch)][1] * trials)
