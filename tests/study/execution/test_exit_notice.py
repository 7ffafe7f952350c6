"""What is printed where the process is ended from outside."""

import subprocess
import sys

import pytest

WAITING = """
import os, sys
from study.execution.exit_notice import printed_if_killed
with printed_if_killed("it's over; resume with: $HOME `ls`") as dismiss:
    if "send away" in sys.argv: dismiss()
    if "die" in sys.argv: os._exit(1)
    if "raise" in sys.argv: raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        (["die"], 1, "it's over; resume with: $HOME `ls`\n"),
        (["send away", "die"], 1, ""),
        (["raise"], 3, ""),
        ([], 0, ""),
    ],
)
def test_the_line_is_printed_only_where_the_process_dies_inside(then: list[str], code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", WAITING, *then], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)
