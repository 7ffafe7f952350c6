"""Output never decides what becomes of a study: wherever it can no longer be written, the study continues."""

import os
import subprocess
import sys

import pytest

LONG = """
import sys
from study.command_line import run_command
from study.pipeline.console import Output, StudyConsole
from study.pipeline.progress import PhaseSize
from results.events import TrialStarted

def study():
    output = Output(StudyConsole(), progress=sys.argv[1])
    for number in range(3000):
        output.say(f"line {number} \\u2013 \\u00e9")
    progress = output.follow(PhaseSize("search", 3000, 1))
    with progress.live():
        for number in range(3000):
            progress.apply(TrialStarted(number=number, config={"lr": 0.1}, seed=0))
    print("the study has ended", file=sys.stderr)
    return 0

sys.exit(run_command("study", study))
"""


@pytest.mark.parametrize("style", ["plain", "json", "rich", "none"])
def test_a_study_continues_when_its_reader_has_gone(style: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", LONG, style], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"line 0")
    process.stdout.close()  # as `| head -1` does
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), said) == (0, b"the study has ended\n")


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_study_continues_without_a_standard_output_and_on_a_full_disk(redirection: str) -> None:
    command = f'exec "$@" {redirection}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-c", LONG, "plain"], stderr=subprocess.PIPE, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"the study has ended\n")


def test_an_ascii_terminal_gets_escapes() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", LONG, "plain"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"the study has ended\n")
    assert done.stdout.startswith(b"line 0 \\u2013 \\xe9\n")


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [(">&-", 0, ""), (">/dev/full", 1, "{program}: No space left on device\n"), ("| head -n 1 >/dev/null", 0, "")],
)
@pytest.mark.parametrize(
    ("command", "program"), [("study.data", "study.data"), ("search_spaces --show fast", "python -m search_spaces")]
)
def test_a_listing_that_cannot_be_written_is_one_line(
    redirection: str, code: int, said: str, command: str, program: str
) -> None:
    done = subprocess.run(
        f"{sys.executable} -m {command} {redirection}", shell=True, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (code, said.format(program=program))


def test_a_list_of_spaces_has_escapes_on_an_ascii_terminal() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "search_spaces", "--show", "fast"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xd7" in done.stdout
