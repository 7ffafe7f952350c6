"""Search for a better recipe, retrain it, and say how much better it is:

python -m study.run --samples 20
python -m study.run --resume runs/NAME
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from study.command_line import parser_of, run_with_settings
from study.config import StudyConfig

if TYPE_CHECKING:
    from results import Run

PROGRAM = "study.run"


def main(command: Sequence[str] | None = None) -> int:
    """Runs a study. The exit codes are in the help."""
    parser = parser_of(
        StudyConfig, PROGRAM, "Search hyperparameters of an image classifier, retrain the best, compare."
    )
    return run_with_settings(parser, sys.argv[1:] if command is None else list(command), _run)


def _run(given: dict[str, Any], command: Sequence[str]) -> "Run":
    from study import api  # late, so that --help is fast

    return api.from_command_line(api.run_study, given, command)


if __name__ == "__main__":
    sys.exit(main())
