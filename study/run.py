"""Search for a better recipe, retrain it, and say how much better it is:

python -m study.run --samples 20
python -m study.run --resume runs/NAME
"""

import sys
from collections.abc import Sequence

from study.command_line import flag_of, given_settings, parser_of, print_result, run_command
from study.config import StudyConfig

PROGRAM = "study.run"


def main(command: Sequence[str] | None = None) -> int:
    """Runs a study. The exit codes are in the help."""
    command = sys.argv[1:] if command is None else list(command)
    parser = parser_of(
        StudyConfig, PROGRAM, "Search hyperparameters of an image classifier, retrain the best, compare."
    )

    def call() -> int:
        given = given_settings(parser, command)
        resume, resume_or_start = given.pop("resume", None), given.pop("resume_or_start", False)
        from study import api

        with api.errors_as_study_errors():
            run = api.run_study(given, api.Call(list(command), flag_of, resume, resume_or_start))
        print_result(run, given)
        return 0

    return run_command(PROGRAM, call)


if __name__ == "__main__":
    sys.exit(main())
