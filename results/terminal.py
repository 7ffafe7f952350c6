"""The terminal of every command of `python -m results`: output never decides whether a command succeeds."""

import os
import sys
from io import TextIOWrapper
from typing import NoReturn

from rich.console import Console

# A pipe has no width to fit into: a trial or a run is a line there, for grep.
PIPE_WIDTH = 10_000


class _Terminal(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(*, one_line_each: bool = False) -> Console:
    """The terminal; or, of unlimited width, where it is no terminal or each row is to stay one line."""
    wide = one_line_each or not sys.stdout.isatty()
    return _Terminal(width=PIPE_WIDTH if wide else None)


def tolerate_any_output() -> None:
    """Characters that the terminal's encoding lacks become escapes; without a standard output nothing is said."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell, as in `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """After the reader, such as `head`, has had enough: what Python still holds back goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
