"""What more trials are worth: the gain to expect of further search, with its interval, from a run's own trials.

    further_search(run).in_words(run.metric)   # "20 more trials: about +0.4 points, 80% interval 0.0 to 1.1"

Pure functions. The trials are taken as exchangeable, as random draws are: of n + k trials the best one is among the k
later ones with probability k / (n + k), and the differences of the best values, each times its rank, are exponential
with one scale (Renyi 1953; Weissman 1978, J. Am. Stat. Assoc. 73). A sampler that learns does better than this says,
and a metric that comes near its limit worse. How well 80% intervals hold is measured by benchmarks.search_enough.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.events import EpochFinished, Event, State, TrialEnded, TrialPaused, TrialPromoted, TrialState
from results.metric import MetricInfo
from results.run import Run

FEWEST = 5  # trials from which anything is said
MORE = 20  # trials whose worth is said and decides
DRAWS = 20_000

Curve = dict[int, float]  # the metric by epoch


@dataclass(frozen=True)
class FurtherSearch:
    """What so many more `trials` bring to the best value, in the metric's own unit, never negative.

    Attributes:
        chance: the probability that one of them is better than the best so far.
        gain: the mean, with the cases without any gain.
        low, high: the 80% interval.
    """

    trials: int
    chance: float
    gain: float
    low: float
    high: float

    def in_words(self, metric: MetricInfo) -> str:
        """Such as "20 more trials: about +0.4 points, 80% interval 0.0 to 1.1"; a loss falls by so much."""
        form, unit = ("{:.1f}", " points") if metric.is_share else ("{:.4f}", "")
        gain, low, high = (form.format(metric.scale * each) for each in (self.gain, self.low, self.high))
        sign = "+" if metric.maximize else "-"
        return f"{self.trials} more trials: about {sign}{gain}{unit}, 80% interval {low} to {high}"


def worth_of_more(
    finals: Iterable[float], trials: int, mode: Literal["max", "min"] = "max", limit: float | None = None
) -> FurtherSearch | None:
    """The worth of `trials` more, given the final values of those so far; None where there are fewer than five.

    Args:
        finals: of the metric, NaN for trials that failed: they count as trials that were not better.
        limit: the best value that the metric can have, such as 1 for accuracy.

    Raises:
        ValueError: `trials` is less than 1.
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}; allowed: at least 1")
    values = np.array(list(finals), float)
    finite = np.sort((values if mode == "max" else -values)[np.isfinite(values)])[::-1]
    if len(finite) < FEWEST:
        return None
    tail = max(2, len(finite) // 3)
    spacings = (finite[:tail] - finite[1 : tail + 1]) * np.arange(1, tail + 1)
    generator = np.random.default_rng(0)
    scale = spacings.sum() / generator.gamma(tail, size=DRAWS)
    exceeds = generator.beta(1, len(values), size=DRAWS)  # the probability that one trial is better than the best
    better = generator.binomial(trials, exceeds)
    best_of_them = -np.log1p(-(generator.random(DRAWS) ** (1 / np.maximum(better, 1))))
    gains = np.where(better > 0, scale * best_of_them, 0.0)
    if limit is not None:
        gains = np.minimum(gains, abs(limit - (finite[0] if mode == "max" else -finite[0])))
    low, high = np.quantile(gains, [0.1, 0.9])
    return FurtherSearch(trials, float((better > 0).mean()), float(gains.mean()), float(low), float(high))


def further_search(run: Run, trials: int = MORE) -> FurtherSearch | None:
    """The worth of `trials` more for the run's metric; None where too few trials say so, or none measured it."""
    if run.metric.column not in run.epochs:
        return None
    curves: dict[int, Curve] = {number: {} for number in run.trials.index}
    measured = run.epochs.dropna(subset=run.metric.column)
    for number, epoch, value in measured[["number", "training_iteration", run.metric.column]].itertuples(index=False):
        curves[number][epoch] = value
    status = run.trials["status"]
    failed, running = (
        set(status.index[status.isin(names)]) for names in (["diverged", "failed"], ["running", "interrupted"])
    )
    finals = _finals(curves, failed, running, run.study["max_epochs"])
    return worth_for(finals.values(), run.metric, trials)


def worth_for(finals: Iterable[float], metric: MetricInfo, trials: int = MORE) -> FurtherSearch | None:
    """As `worth_of_more`, in the direction of `metric` and within what a share, or else a loss, can reach."""
    limit = (1.0 if metric.is_share else None) if metric.maximize else 0.0
    return worth_of_more(finals, trials, metric.mode, limit)


def final_values(state: State, metric: str, max_epochs: int) -> dict[int, float]:
    """The metric after the last epoch of each trial that has one, by number: measured, or expected for those stopped.

    A stopped trial is expected to gain from its last epoch on what the completed trials have gained from there, in the
    median. Diverged and failed trials are NaN. Trials that still run are left out, as are all where none is complete.

    Args:
        metric: its name in an epoch's metrics, such as "val_accuracy".
    """
    trials = state.trials.items()
    curves = {number: trial.values(metric) for number, trial in trials}
    failed = {number for number, trial in trials if trial.end and trial.end.status in ("diverged", "failed")}
    return _finals(curves, failed, {number for number, trial in trials if trial.is_running}, max_epochs)


class FinalValues:
    """What `final_values` gives, in any order and without numbers, kept up to date event by event.

    Between two events it looks at the trial of the event only.

    Args:
        metric: its name in an epoch's metrics, such as "val_accuracy".
    """

    def __init__(self, metric: str, max_epochs: int) -> None:
        self._metric, self._max_epochs = metric, max_epochs
        self._complete: dict[int, Curve] = {}
        self._over: dict[int, tuple[int, float]] = {}  # last epoch and value of trials that are paused or over

    def apply(self, event: Event, trial: TrialState) -> None:
        """Learns of `event`; `trial` is what is known of its trial since."""
        match event:
            case EpochFinished() if event.epoch >= self._max_epochs:
                curve = trial.values(self._metric)
                if self._max_epochs in curve:
                    self._complete[event.number] = curve
            case TrialPaused() | TrialEnded():
                curve = trial.values(self._metric)
                failed = trial.end is not None and trial.end.status in ("diverged", "failed")
                last = _last(curve, self._max_epochs)
                self._over[event.number] = (last, math.nan if failed or not curve else curve[last])
            case TrialPromoted():
                self._over.pop(event.number, None)

    def values(self) -> NDArray[np.float64]:
        """float64 [trials that are paused or over]."""
        if not self._complete or not self._over:
            return np.empty(0)
        last, value = np.array(list(self._over.values()), float).T
        lasts, place = np.unique(last, return_inverse=True)
        complete = list(self._complete.values())
        gains = np.array([_median_gain(complete, int(epoch), self._max_epochs) for epoch in lasts])
        found: NDArray[np.float64] = value + gains[place]
        return found


def _finals(
    curves: Mapping[int, Curve], failed: Collection[int], running: Collection[int], max_epochs: int
) -> dict[int, float]:
    complete = [curve for curve in curves.values() if max_epochs in curve]
    if not complete:
        return {}
    lasts = {number: _last(curve, max_epochs) for number, curve in curves.items() if number not in running}
    gains = {last: _median_gain(complete, last, max_epochs) for last in set(lasts.values())}
    return {
        number: math.nan if number in failed or not last else curves[number][last] + gains[last]
        for number, last in lasts.items()
    }


def _last(curve: Curve, max_epochs: int) -> int:
    """The epoch whose value counts; 0 where there is none."""
    return max_epochs if max_epochs in curve else max(curve, default=0)


def _median_gain(complete: Sequence[Curve], last: int, max_epochs: int) -> float:
    """From the epoch `last` to the end; NaN where no completed trial was measured there."""
    if last == max_epochs:
        return 0.0
    gains = [curve[max_epochs] - curve[last] for curve in complete if last in curve]
    return float(np.median(gains)) if gains else math.nan
