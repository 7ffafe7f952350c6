"""A study in a process of its own, as a user starts it, watched from outside."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def events(record: Path) -> list[dict[str, Any]]:
    """What the record has so far; a line that is being written is none yet."""
    if not record.exists():
        return []
    return [json.loads(line) for line in record.read_bytes().split(b"\n")[:-1]]


def wait_until(condition: Callable[[], Any], process: "subprocess.Popen[str]") -> Any:
    """What `condition` gives once it is true; fails where the process ends first, or after three minutes."""
    deadline = time.monotonic() + 180
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
