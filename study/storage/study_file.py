"""study.json: what was asked, on which data and machine; every change is written at once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from results import schema
from study.errors import EventLogError
from study.storage.files import write_json


class StudyFile:
    """The study.json at `path`.

    Args:
        content: of a new file; None to continue the one that is there.
        on_change: called when the file has been written.

    Raises:
        EventLogError: the file that is there cannot be read.
    """

    def __init__(
        self, path: Path, content: dict[str, Any] | None = None, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.path, self._on_change = path, on_change
        if content is None:
            self.content = _read(path)
        else:
            self.content = {}
            self.update(**content)

    def update(self, **changes: Any) -> None:
        self.content |= changes
        write_json(self.path, self.content)
        self._on_change()

    def add_seconds(self, part: str, seconds: float) -> None:
        """Adds wall time to a part of the study; a resumed study adds to what it had."""
        spent = self.content["seconds"]
        self.update(seconds=spent | {part: spent.get(part, 0.0) + seconds})

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the wall time spent inside to `part`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add_seconds(part, time.perf_counter() - started)


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        why = f"it has no {path.name}" if path.parent.is_dir() else "there is no such directory"
        raise EventLogError(f"{path.parent} is no run that can be resumed: {why}; start it anew")
    try:
        return schema.read_study(path)
    except schema.SchemaError as error:
        raise EventLogError(f"{path} {error.fault}; the run cannot be resumed") from None


def now() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
