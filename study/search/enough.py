"""When a search has found enough: the rule of --stop-when-worth, as a function of the event log."""

from collections.abc import Iterable

from results.events import Event, State, TrialEnded
from results.further_search import FinalValues, FurtherSearch, worth_for
from results.metric import MetricInfo


class Enough:
    """Whether MORE further trials are expected to gain less than so much.

    It is decided each time a trial has been trained to its end, and once it is so, it stays so: a search that is
    rebuilt from its event log comes to the same decision after the same event.

    Args:
        least: the gain that is worth the search, in the metric's unit; points where it is a share.
        max_epochs: of a trial that is not stopped.
        events: of the event log so far.

    Attributes:
        metric: in whose unit.
        worth: what further search was worth when it was enough; None before that.
    """

    def __init__(self, least: float, metric: MetricInfo, max_epochs: int, events: Iterable[Event] = ()) -> None:
        self.worth: FurtherSearch | None = None
        self.metric, self._least = metric, least / metric.scale
        self._state, self._finals = State(), FinalValues(metric.column, max_epochs)
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        if self.worth is not None:
            return
        self._state.apply(event)
        self._finals.apply(event, self._state.trials[event.number])
        if isinstance(event, TrialEnded) and event.status == "completed":
            worth = worth_for(self._finals.values(), self.metric)
            if worth is not None and worth.gain < self._least:
                self.worth = worth
