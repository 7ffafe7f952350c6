"""What is printed where the process is ended from outside."""

import subprocess
import sys

import pytest

WAITING = """
import os, sys
from study.execution.exit_notice import printed_if_killed
with printed_if_killed() as set_line:
    if "before" in sys.argv: os._exit(1)
    set_line("it's over; resume with: $HOME `ls`")
    if "other" in sys.argv: set_line("another line")
    if "die" in sys.argv: os._exit(1)
    if "raise" in sys.argv: raise SystemExit(3)
    if "family" in sys.argv:
        import psutil
        for child in psutil.Process().children(recursive=True): child.kill()  # as Ray's core does it
        os._exit(1)
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        (["before"], 1, ""),
        (["die"], 1, "it's over; resume with: $HOME `ls`\n"),
        (["other", "die"], 1, "another line\n"),
        (["family"], 1, "it's over; resume with: $HOME `ls`\n"),
        (["raise"], 3, ""),
        ([], 0, ""),
    ],
)
def test_a_line_is_printed_only_where_the_process_dies_inside(then: list[str], code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", WAITING, *then], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)
