"""The event log: `epochs.jsonl` of a run directory, append-only, one event a line.

The log is the source of truth. A study is resumed from it, and all tables are made from it. Its format is in
docs/run-directory.md, its events in results/events.py.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from results import schema
from results.events import Event, EventError, State
from study.errors import EventLogError
from study.storage.files import sync_names

Listener = Callable[[Event], None]


class EventLog:
    """An append-only file of events. Each one is on disk before the study acts on it.

    An existing file is continued: a last line that was cut off while it was written is removed.

    Args:
        path: the file; it is made, with its folder, where it is missing.
        listeners: called with every event that is appended.

    Attributes:
        events: all of them, in order.
        state: what they add up to.

    Raises:
        EventLogError: a line is damaged, and it is not the last one.
    """

    def __init__(self, path: Path, listeners: Sequence[Listener] = ()) -> None:
        self.path = path
        self.events: list[Event] = []
        self.state = State()
        self._listeners = list(listeners)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            self._load(number, line)
        self._file = path.open("ab")
        self._file.truncate(content.rfind(b"\n") + 1)
        sync_names(path.parent)

    def _load(self, number: int, line: bytes) -> None:
        where = f"{self.path} line {number} is damaged; the run can be read, but not resumed"
        try:
            event = schema.read_event(line, ())
            self.state.apply(event)
        except EventError as error:
            raise EventLogError(f"{self.path} line {number}: {error}") from None
        except schema.SchemaError:
            raise EventLogError(where) from None
        self.events.append(event)

    def add_listener(self, listener: Listener) -> None:
        """Calls `listener` with every event from now on."""
        self._listeners.append(listener)

    def append(self, event: Event) -> None:
        """Writes `event` with the current time, then updates `state` and calls the listeners.

        Raises:
            OSError: the disk is full or gone. Earlier events are untouched: a partial line is cut off at once, or when
                the log is opened next.
        """
        event = replace(event, time=time.time())
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(json.dumps(event.to_json(), allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            os.truncate(self.path, end)
            raise
        self.state.apply(event)
        self.events.append(event)
        for listener in self._listeners:
            listener(event)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
