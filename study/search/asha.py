"""ASHA as published: a trial rests at each rung until it is among the best there, then goes on from its checkpoint.

Li et al. 2020, arXiv:1810.05934, algorithm 2. Ray's ASHAScheduler only stops trials: its first ones, which have nobody
to be compared with, run on to the end (ray issue 44256). What that costs is measured by benchmarks.schedulers.

A paused trial is no trial of Ray's: Ray is told to stop it, and the searcher hands its number out again when it is
promoted. So nothing here outlives the process that the record could not fill again.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.storage.event_log import Event, NotPickled

METRIC = "val_accuracy"
EPOCH = "epoch"


def rungs(max_epochs: int, grace_period: int, reduction_factor: int) -> list[int]:
    """The epochs at which ASHA compares trials, ascending: grace_period x reduction_factor^k, below max_epochs."""
    found, epoch = [], grace_period
    while epoch < max_epochs:
        found.append(epoch)
        epoch *= reduction_factor
    return found


class ASHA(NotPickled, FIFOScheduler):
    """Stops a trial at a rung unless it is among the best 1/reduction_factor of those that have reached it.

    At a rung that no other trial can reach any more, as all have begun, the share is rounded up: a search ends with a
    whole trial, and on recorded curves with half the regret for 2% more epochs (docs/lab-notes.md).

    Args:
        samples: how many trials begin at most.
    """

    def __init__(self, max_epochs: int, grace_period: int, reduction_factor: int, samples: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rungs = rungs(max_epochs, grace_period, reduction_factor)
        self._max_epochs, self._factor, self._samples = max_epochs, reduction_factor, samples
        self._scores: dict[int, dict[int, float]] = {rung: {} for rung in self.rungs}
        self._last: dict[int, int] = {}  # the last epoch of each trial that has begun
        self._running: set[int] = set()
        self._ended: set[int] = set()
        self._all_begun = False

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self.begin(trial.config["number"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP for a trial that rests, has had its last epoch, or has diverged: `nan < cutoff` would let it run on."""
        number = trial.config["number"]
        if "diverged" in result:
            self.end(number)
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE if self.continues(number, result[EPOCH], result[METRIC]) else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self.end(trial.config["number"])

    def begin(self, number: int) -> None:
        """Trial `number` runs, for the first time or again; before a retry Ray tells of an error first."""
        self._last.setdefault(number, 0)
        self._ended.discard(number)
        self._running.add(number)

    def end(self, number: int) -> None:
        """Trial `number` will never go on. Its scores stay."""
        self._running.discard(number)
        self._ended.add(number)

    def no_more_trials(self) -> None:
        """There will be no other trials than those that have begun."""
        self._all_begun = True

    def continues(self, number: int, epoch: int, accuracy: float) -> bool:
        """Whether the running trial `number` goes on at once; an epoch that it has reported before changes nothing."""
        if epoch <= self._last[number]:
            return True
        self._last[number] = epoch
        if epoch >= self._max_epochs:
            self.end(number)
            return False
        if epoch not in self._scores:
            return True
        self._scores[epoch][number] = accuracy
        self._running.discard(number)
        if self.promotable() != number:
            return False
        self._running.add(number)
        return True

    def promotable(self) -> int | None:
        """The paused trial that is to go on: the best one at the highest rung that has any."""
        for rung, numbers in reversed(self._best().items()):
            for number in numbers:
                if self._rests_at(rung, number):
                    return number
        return None

    def paused(self) -> dict[int, int]:
        """The trials that rest, and at which rung each."""
        return {number: self._last[number] for number in self._last if self._rests_at(self._last[number], number)}

    def cannot_be_promoted(self) -> dict[int, int]:
        """Of `paused`, those that will not be promoted unless better ones fail: so many are there already."""
        most = -(-(len(self._last) if self._all_begun else self._samples) // self._factor)
        surely_worse = {number for rung in self.rungs for number in self._ranked(rung)[most:]}
        return {number: rung for number, rung in self.paused().items() if number in surely_worse}

    def likeliest_to_be_promoted(self, count: int) -> set[int]:
        """Of `paused`, the `count` whose promotion waits for the fewest other trials to reach their rung.

        A trial waits for as many at a high rung as at a low one when it is reduction_factor times as long until they
        come, but then so many times as much training is at stake.
        """
        waits = {
            number: (place + 1) * self._factor - len(scores)
            for rung, scores in self._scores.items()
            for place, number in enumerate(self._ranked(rung))
            if self._rests_at(rung, number)
        }
        return set(sorted(waits, key=lambda number: (waits[number], number))[:count])

    def replay(self, events: Iterable[Event]) -> None:
        """Fills the rungs from a record. A trial that was running then rests where its last epoch is a rung."""
        for event in events:
            number = event["number"]
            if event["event"] == "trial":
                self.begin(number)
            elif event["event"] == "epoch":
                epoch = self._last[number] = event["training_iteration"]
                if epoch in self._scores:
                    self._scores[epoch][number] = event[METRIC]
            elif event["event"] == "end":
                self.end(number)
        self._running -= {number for number, last in self._last.items() if last in self._scores}

    def _rests_at(self, rung: int, number: int) -> bool:
        at_it = rung in self._scores and self._last[number] == rung
        return at_it and number not in self._running and number not in self._ended

    def _best(self) -> dict[int, list[int]]:
        """Of each rung, those that have a place among the ones that go on, best first."""
        best: dict[int, list[int]] = {}
        for rung in self.rungs:
            ranked = self._ranked(rung)
            if not self._all_begun or any(self._can_still_reach(rung, number, best) for number in self._last):
                best[rung] = ranked[: len(ranked) // self._factor]
                continue
            share = ranked[: -(-len(ranked) // self._factor)]
            # Where all of those have failed, the best that is left keeps the search from ending without a whole trial.
            able = [each for each in ranked if each not in self._ended or self._last[each] >= self._max_epochs]
            best[rung] = share if set(share) & set(able) else able[:1]
        return best

    def _can_still_reach(self, rung: int, number: int, best: Mapping[int, Collection[int]]) -> bool:
        """Whether the trial may yet come to `rung`, given the `best` of all lower ones."""
        last = self._last[number]
        return last < rung and (number in self._running or (self._rests_at(last, number) and number in best[last]))

    def _ranked(self, rung: int) -> list[int]:
        scores = self._scores[rung]
        return sorted(scores, key=lambda number: (-scores[number], number))
