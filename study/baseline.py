"""Reproduce the published training, or check any recipe, over several seeds:

python -m study.baseline --seeds 3
python -m study.baseline --recipe runs/NAME/best.json
"""

import sys
from collections.abc import Sequence

from study.command_line import flag_of, given_settings, parser_of, print_result, run_command
from study.config import ReproduceConfig

PROGRAM = "study.baseline"


def main(command: Sequence[str] | None = None) -> int:
    """Trains and reports. The exit codes are in the help; the accuracy does not change them."""
    command = sys.argv[1:] if command is None else list(command)
    parser = parser_of(ReproduceConfig, PROGRAM, "Train a recipe on all training images, over several seeds.")

    def call() -> int:
        given = given_settings(parser, command)
        resume, resume_or_start = given.pop("resume", None), given.pop("resume_or_start", False)
        from study import api

        with api.errors_as_study_errors():
            run = api.run_reproduction(given, api.Call(list(command), flag_of, resume, resume_or_start))
        print_result(run, given)
        return 0

    return run_command(PROGRAM, call)


if __name__ == "__main__":
    sys.exit(main())
