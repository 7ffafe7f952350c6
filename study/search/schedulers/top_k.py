"""One epoch for every trial, and the best K to the end.

Bohdal et al. 2023, arXiv:2307.15422: in many searches this simplest rule is as good as any with more rungs.
"""

from study.search.schedulers.asha import ASHA, Rung
from study.search.schedulers.scheduler import SchedulerSettings

K = 3


class TopK(ASHA):
    """Pauses every trial after its grace period, and promotes the best `K` when all trials have come that far."""

    def __init__(self, settings: SchedulerSettings) -> None:
        super().__init__(settings)
        self.rungs = self.rungs[:1]
        self._rungs = {epoch: Rung() for epoch in self.rungs}

    def _promotion_at(self, epoch: int, closed: bool) -> int | None:
        rung = self._rungs[epoch]
        best = rung.paused[0]
        return best[1] if closed and rung.rank(best) < max(K, self._first_able(rung) + 1) else None

    def _most_promoted(self, epoch: int, trials: int) -> int:
        return K

    def expected_epochs(self) -> tuple[float, float]:
        settings = self._settings
        first = min(settings.grace_period, settings.max_epochs)
        every = float(settings.samples * first + min(K, settings.samples) * (settings.max_epochs - first))
        return every, every
