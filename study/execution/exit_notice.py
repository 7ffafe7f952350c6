"""A message for the user where this process is killed from outside, such as by Ray or for lack of memory."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Waits for a line on its input. If the input closes without one, the process at its other end has died.
SCRIPT = 'read -r word || printf "%s\\n" "$1" >&2'


@contextmanager
def printed_if_killed(line: str) -> Iterator[Callable[[], None]]:
    """If this process is killed inside the block, a waiting shell prints `line` to standard error.

    Ray's core ends a process without a message when its node is gone, and no handler of Python's runs then.

    Yields:
        A function that ends the shell without the line, as the end of the block does.
    """
    if os.name != "posix":
        yield lambda: None
        return
    shell = subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT, "sh", line],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not meant for it
    )

    def dismiss() -> None:
        with suppress(OSError, ValueError):  # it has gone already
            shell.communicate(b"done\n")

    try:
        yield dismiss
    finally:
        dismiss()
