"""The progress display: what it shows live, what it prints elsewhere, and what it prints for machines."""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from rich.console import Console

from results.events import EpochFinished, Event, TrialEnded, TrialPaused, TrialRetried, TrialStarted, TrialState
from results.further_search import FEWEST, worth_of_more
from results.metric import ACCURACY
from study.pipeline.progress import PhaseSize, Progress
from study.training.metrics import Metric


def trial(number: int, accuracy: float = 0.5) -> list[Event]:
    """A trial of one epoch."""
    return [
        TrialStarted(number=number, config={"lr": 0.1}, seed=number),
        EpochFinished(
            number=number, epoch=1, metrics={"train_loss": 1.0, "val_accuracy": accuracy}, seconds=1.0, time_total_s=1.0
        ),
        TrialEnded(number=number, status="stopped", reason="rung 1"),
    ]


def printed(trainings: int | None, style: str, *, terminal: bool = False, silent_for: float = 30.0) -> str:
    """What two trials of at most 4 epochs leave behind."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120)
    expected = None if trainings is None else (4.0, 8.0)
    progress = Progress(
        console, PhaseSize("search", trainings, 4, expected, is_search=True), style, silent_for=silent_for
    )
    with progress.live():
        for event in [*trial(0), *trial(1)]:
            progress.apply(event)
        if silent_for < 1:
            time.sleep(4 * silent_for)
    return written.getvalue()


@pytest.mark.parametrize(("trainings", "tally"), [(12, "[2/12 ended, 2 epochs]"), (None, "[2 ended, 2 epochs]")])
def test_a_line_counts_against_a_total_only_where_there_is_one(trainings: int | None, tally: str) -> None:
    last = printed(trainings, "auto").splitlines()[-1]
    assert last == f"trial 1 stopped (rung 1) after 1 epoch, validation accuracy 50.00%  {tally}"


def test_off_a_terminal_a_started_trial_is_a_line_with_its_recipe() -> None:
    assert printed(12, "auto").splitlines()[0] == "trial 0 started: lr 0.1"


@pytest.mark.parametrize(("trainings", "shown"), [(12, "2 of 12 ended"), (None, "2 ended")])
def test_the_live_display_estimates_what_is_left_only_where_that_is_known(trainings: int | None, shown: str) -> None:
    written = printed(trainings, "auto", terminal=True)
    assert shown in written
    assert ("left" in written) == (trainings is not None)


def finished_epochs(number: int, count: int, seconds: float) -> list[Event]:
    loss = {"train_loss": 1.0}
    return [
        EpochFinished(number=number, epoch=epoch, metrics=loss, seconds=seconds, time_total_s=epoch * seconds)
        for epoch in range(1, count + 1)
    ]


@pytest.mark.parametrize(("slots", "left"), [(1, "about 3:10 left"), (2, "about 3:00 left")])
def test_trainings_that_go_to_their_end_are_estimated_each_at_its_own_pace(slots: int, left: str) -> None:
    written = io.StringIO()
    size = PhaseSize("final", 2, 4, (8.0, 8.0), slots)
    progress = Progress(Console(file=written, width=120), size, "plain", silent_for=0.05)
    started = [
        TrialStarted(number=number, config={}, seed=0, labels={"role": "winner", "seed": 0}) for number in (0, 1)
    ]
    with progress.live():
        # One has an epoch of 10 s to go, the other one three of a minute.
        for event in [*started, *finished_epochs(0, 3, 10.0), *finished_epochs(1, 1, 60.0)]:
            progress.apply(event)
        time.sleep(0.2)
    assert left in written.getvalue()


def test_something_is_printed_at_least_every_interval_although_nothing_happens() -> None:
    lines = [line for line in printed(12, "plain", silent_for=0.1).splitlines() if line.startswith("search: ")]
    assert lines
    assert "2 ended" in lines[0]
    assert "best so far trial 0 with validation accuracy 50.00%" in lines[0]


def test_json_progress_is_one_object_a_line() -> None:
    lines = [json.loads(line) for line in printed(12, "json").splitlines()]
    assert [line["event"] for line in lines] == ["trial", "epoch", "end"] * 2
    assert lines[-1]["phase"] == "search"
    assert lines[-1]["best"] == {"number": 0, "accuracy": 0.5}
    assert (lines[-1]["ended"], lines[-1]["epochs"]) == (2, 2)


@pytest.mark.parametrize(("is_search", "style"), [(True, "json"), (True, "rich"), (False, "json")])
def test_what_further_search_is_worth_is_shown_once_enough_trials_were_trained_to_their_end(
    is_search: bool, style: str
) -> None:
    written = io.StringIO()
    size = PhaseSize("search", 40, 1, is_search=is_search)
    progress = Progress(Console(file=written, force_terminal=style == "rich", width=120), size, style)
    finals = [0.70 + 0.01 * (number * 7 % 10) for number in range(10)]
    with progress.live():
        for number, value in enumerate(finals):
            for event in [*trial(number, value)[:2], TrialEnded(number=number, status="completed", reason=None)]:
                progress.apply(event)
        time.sleep(0.5 if style == "rich" else 0)
    worth = worth_of_more(finals, 20, limit=1.0)
    assert worth is not None
    if style == "rich":
        assert f"what further search is worth ({worth.in_words(ACCURACY)})" in written.getvalue()
        return
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert lines[3 * FEWEST - 4]["further_search"] is None
    assert lines[-1]["further_search"] == (asdict(worth) if is_search else None)


def test_no_progress_is_nothing_at_all() -> None:
    assert printed(12, "none") == ""


def test_a_retry_is_said_on_a_live_display_too() -> None:
    written = io.StringIO()
    progress = Progress(Console(file=written, force_terminal=True, width=120), PhaseSize("search", 1, 4), "rich")
    progress.apply(trial(0)[0])
    progress.apply(TrialRetried(number=0, reason="the worker died"))
    assert "trial 0 continues from its checkpoint after: the worker died" in written.getvalue()


def test_the_best_of_a_loss_is_the_lowest() -> None:
    written = io.StringIO()
    metric = Metric("log_loss", "min", lambda labels, probabilities: 0.0, "{:.3f}")
    progress = Progress(Console(file=written, width=120), PhaseSize("search", 2, 4), "json", metric)
    for number, loss in enumerate((2.0, 1.0)):
        progress.apply(TrialStarted(number=number, config={}, seed=0))
        progress.apply(
            EpochFinished(number=number, epoch=1, metrics={"val_log_loss": loss}, seconds=1.0, time_total_s=1.0)
        )
    assert json.loads(written.getvalue().splitlines()[-1])["best"] == {"number": 1, "log_loss": 1.0}


def test_trainings_of_an_earlier_request_are_not_counted() -> None:
    written = io.StringIO()
    progress = Progress(Console(file=written, width=120), PhaseSize("final", 1, 4), "plain")
    progress.catch_up([*trial(0), *trial(1)], numbers={1})
    progress.apply(TrialStarted(number=2, config={}, seed=0))
    progress.apply(TrialPaused(number=2))
    assert "[1/1 ended" in written.getvalue()


class LookedUp(dict[int, TrialState]):
    """Trials that are looked up one by one only."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("all trials are looked at")

    items = values = keys = __iter__  # type: ignore[assignment]


@pytest.mark.parametrize("style", ["plain", "json", "rich"])
def test_no_event_makes_the_display_look_at_all_trials(style: str) -> None:
    progress = Progress(
        Console(file=io.StringIO(), width=200), PhaseSize("search", 30, 1, (9, 9), is_search=True), style
    )
    for number in range(20):
        for event in trial(number, 0.5 + number / 100):
            progress.apply(event)
    late = trial(20, 0.9)
    progress.apply(late.pop(0))
    progress._state.trials = LookedUp(progress._state.trials)
    for event in late:
        progress.apply(event)
    assert progress._draw() is not None
    assert "trial 20 with validation accuracy 90.00%" in progress._status()


def test_the_best_trial_is_that_with_the_best_last_epoch_also_when_it_gets_worse() -> None:
    progress = Progress(Console(file=io.StringIO()), PhaseSize("search", 2, 2, None, is_search=True), "plain")

    def epoch(number: int, at: int, accuracy: float) -> EpochFinished:
        metrics = {"val_accuracy": accuracy}
        return EpochFinished(number=number, epoch=at, metrics=metrics, seconds=1.0, time_total_s=float(at))

    for number, accuracy in enumerate((0.6, 0.6, 0.5)):
        progress.apply(TrialStarted(number=number, config={}, seed=0))
        progress.apply(epoch(number, 1, accuracy))
    assert "best so far trial 0 with validation accuracy 60.00%" in progress._status()
    progress.apply(epoch(0, 2, 0.4))
    assert "best so far trial 1 with validation accuracy 60.00%" in progress._status()
