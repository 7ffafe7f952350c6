"""A message for the user where this process is killed from outside, such as by Ray or for lack of memory."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Reads lines until its input closes, then prints the last one, if it has text. The loop runs in the background of a
# shell that ends at once: Ray's core kills the children of a process that it ends, and this is none.
SCRIPT = """exec 3<&0
{ while read -r line <&3; do last=$line; done; [ -z "$last" ] || printf '%s\\n' "$last" >&2; } &"""


@contextmanager
def printed_if_killed() -> Iterator[Callable[[str], None]]:
    """If this process ends inside the block, in whatever way, a waiting shell prints a line to standard error.

    Ray's core ends a process without a message when its node is gone, and no handler of Python's runs then.

    Yields:
        A function that sets the line, in place of the one before. Until it is called there is none.
    """
    if os.name != "posix":
        yield lambda line: None
        return
    shell = subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not meant for it
    )
    shell.wait()  # what it has started goes on
    assert shell.stdin is not None
    pipe = shell.stdin.fileno()

    def set_line(line: str) -> None:
        with suppress(OSError):  # it has gone already
            os.write(pipe, f"{line}\n".encode())

    try:
        yield set_line
    finally:
        set_line("")
        with suppress(OSError):
            shell.stdin.close()
