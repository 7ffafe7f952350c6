"""What happened, written down as it happens: study.json and the append-only epochs.jsonl of a run directory.

The formats are in docs/run-directory.md. The record is the truth: a study is resumed from it, and all tables are made
from it.
"""

import errno
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from study.errors import EventLogError

Event = dict[str, Any]
_EVENTS = ("trial", "epoch", "retry", "rest", "promote", "end")


class EventLog:
    """An append-only file of events, one JSON object a line; each is on disk before the study acts on it.

    Opening one that exists continues it: a line that was cut off in mid-write is removed, as it never happened.

    Args:
        path: the file, made with its folder where missing.
        listeners: each is called with every event appended.

    Raises:
        EventLogError: a line that is not the last is no event.
    """

    def __init__(self, path: Path, listeners: Sequence[Callable[[Event], None]] = ()) -> None:
        self.path = path
        self._listeners = list(listeners)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        self.events = [self._event(number, line) for number, line in enumerate(content.split(b"\n")[:-1], 1)]
        self._file = path.open("ab")
        self._file.truncate(content.rfind(b"\n") + 1)
        _keep_names(path.parent)

    def _event(self, number: int, line: bytes) -> Event:
        try:
            event = json.loads(line)
            whole_number = isinstance(event["number"], int) and event["event"] in _EVENTS
        except (ValueError, TypeError, KeyError):
            whole_number = False
        if not whole_number:
            raise EventLogError(f"{self.path} line {number} is damaged; the run can be read, but not resumed")
        return dict(event)

    def follow(self, listener: Callable[[Event], None]) -> None:
        """Has `listener` called with every event from now on."""
        self._listeners.append(listener)

    def append(self, event: Event) -> None:
        """Writes `event`, with the time, and tells the listeners.

        Raises:
            OSError: the disk is full or gone. What was written before is not touched: a half line is cut off at once,
                or by whoever opens the record next.
        """
        event = {**event, "time": time.time()}
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            os.truncate(self.path, end)
            raise
        self.events.append(event)
        for listener in self._listeners:
            listener(event)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its place at `path` at the end: whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _keep_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _keep_names(folder: Path) -> None:
    """Has the names in `folder` on disk: without, a power cut may take a whole file back that was synced itself."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a network's file system may have no such thing
                raise
        finally:
            os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Writes `path` whole or not at all."""
    with whole(path) as file:
        file.write(json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")


class NotPickled:
    """What belongs to the process it was made in. Ray Tune saves its own parts for a restore by pickling them; a study
    is resumed from its record instead, so there is nothing here to save."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StudyFile:
    """study.json: what was asked, of what, on what; every change is written at once.

    Args:
        content: of a new file; None to go on with the one that is there.
        on_change: called when the file has been written.

    Raises:
        EventLogError: the one that is there cannot be read.
    """

    def __init__(
        self, path: Path, content: dict[str, Any] | None = None, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.path, self._on_change = path, on_change
        if content is not None:
            self.content: dict[str, Any] = {}
            self.update(**content)
            return
        try:
            self.content = dict(json.loads(path.read_bytes()))
        except OSError as error:
            raise EventLogError(
                f"{path.parent} is no run that could be resumed: {path.name}: {error.strerror}"
            ) from None
        except (ValueError, TypeError):
            raise EventLogError(f"{path} is damaged; the run cannot be resumed") from None
        if self.content.get("format") != 1:
            raise EventLogError(f"{path} is not of format 1; the run cannot be resumed")

    def update(self, **changes: Any) -> None:
        self.content |= changes
        write_json(self.path, self.content)
        self._on_change()

    def add_seconds(self, part: str, seconds: float) -> None:
        """Adds wall time to a part of the study; a resumed study adds to what it had."""
        spent = self.content["seconds"]
        self.update(seconds=spent | {part: spent.get(part, 0.0) + seconds})


def now() -> str:
    """This moment as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def surroundings(nodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `versions`, `git` and `hardware` of study.json. `nodes` are each node's resources as Ray names them."""
    packages = ["torch", "torchvision", "ray", "optuna", "pandas", "numpy", "pyarrow", "scipy"]
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "git": git(),
        "hardware": {
            **machine(),
            "nodes": [{name: node[name] for name in ("CPU", "GPU") if name in node} for node in nodes],
        },
    }


def machine() -> dict[str, Any]:
    """The machine that this process runs on."""
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
    }


def git() -> dict[str, Any] | None:
    """The revision of this code, and whether it was changed since; None where there is no checkout."""
    here = Path(__file__).parent
    try:
        revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": revision.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
