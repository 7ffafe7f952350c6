"""The screen, told what happens and asked what it shows."""

import io

import pytest
from rich.console import Console

from study.pipeline.progress import Progress
from study.storage.event_log import Event


def events(count: int) -> list[Event]:
    """Trials of one epoch each."""
    last = {"training_iteration": 1, "train_loss": 1.0, "val_accuracy": 0.5}
    return [
        event
        for number in range(count)
        for event in (
            {"event": "trial", "number": number, "config": {"lr": 0.1}},
            {"event": "epoch", "number": number, **last},
            {"event": "end", "number": number, "status": "stopped", "stop_reason": "rung 1"},
        )
    ]


def shown(trainings: int | None, *, terminal: bool) -> str:
    """What two trials of at most 4 epochs leave on the screen."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120)
    screen = Progress(console, "control", trainings, 4)
    with screen.live():
        for event in events(2):
            screen(event)
    return written.getvalue()


@pytest.mark.parametrize(("trainings", "count"), [(12, "[2/12]"), (None, "[2, 2 epochs]")])
def test_a_line_counts_against_a_total_only_where_there_is_one(trainings: int | None, count: str) -> None:
    last = shown(trainings, terminal=False).splitlines()[-1]
    assert last == f"trial 1: stopped (rung 1) after 1 epoch, 50.00% validation accuracy  {count}"


@pytest.mark.parametrize(("trainings", "count"), [(12, "2 of 12 done"), (None, "2 done")])
def test_a_live_screen_counts_against_a_total_only_where_there_is_one(trainings: int | None, count: str) -> None:
    written = shown(trainings, terminal=True)
    assert count in written
    assert ("left" in written) == (trainings is not None)
