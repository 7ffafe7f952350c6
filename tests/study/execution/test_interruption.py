"""How a running study is asked to end."""

import os
import signal
from collections.abc import Iterator

import pytest

from study.errors import StudyInterrupted
from study.execution.interruption import Interruption, signals_raised


@pytest.fixture
def hangup_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_asks_for_the_end_and_the_handler_of_before_is_put_back(hangup_handler: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    interruption = Interruption()
    with interruption.on_signals():
        os.kill(os.getpid(), signal.SIGHUP)
    assert interruption.signal_number == signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_under_nohup_a_hangup_ends_nothing(hangup_handler: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for the process that it becomes
    interruption = Interruption()
    with interruption.on_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        assert interruption.reason is None
        os.kill(os.getpid(), signal.SIGTERM)
    assert interruption.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_signal_ends_work_at_once_that_is_marked_so_and_keeps_its_name() -> None:
    interruption = Interruption()
    with interruption.on_signals():
        with pytest.raises(KeyboardInterrupt), interruption.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert interruption.reason == "SIGTERM"
        os.kill(os.getpid(), signal.SIGTERM)  # no longer at once


def test_before_and_after_the_phases_a_signal_is_an_interruption_that_names_it(hangup_handler: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with pytest.raises(StudyInterrupted, match="stopped by SIGHUP") as ended, signals_raised():
        signal.raise_signal(signal.SIGHUP)
    assert ended.value.signal_number == signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_the_phases_get_their_signals_within_it() -> None:
    interruption = Interruption()
    with signals_raised():
        with interruption.on_signals():
            signal.raise_signal(signal.SIGTERM)
        assert interruption.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_the_end_of_the_search_lifts_its_budget_and_no_signal() -> None:
    interruption = Interruption(time_budget_s=0.0)
    assert interruption.stop_all()
    interruption.end_of_search()
    assert not interruption.stop_all()
    interruption.reason = "SIGTERM"
    interruption.end_of_search()
    assert interruption.stop_all()


def test_the_time_budget_counts_from_the_start_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("study.execution.interruption.time.monotonic", lambda: now)
    interruption = Interruption(time_budget_s=60.0)
    now = 155.0  # the images were checked
    interruption.start_of_search()
    now = 200.0
    assert not interruption.stop_all()
    now = 215.0
    assert interruption.stop_all()
