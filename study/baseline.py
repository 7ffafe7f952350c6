"""Reproduce the published training, or check any recipe, over several seeds:

python -m study.baseline --seeds 3
python -m study.baseline --recipe runs/NAME/best.json
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from study.command_line import parser_of, run_with_settings
from study.config import ReproduceConfig

if TYPE_CHECKING:
    from results import Run

PROGRAM = "study.baseline"


def main(command: Sequence[str] | None = None) -> int:
    """Trains and reports. The exit codes are in the help; the accuracy does not change them."""
    parser = parser_of(ReproduceConfig, PROGRAM, "Train a recipe on all training images, over several seeds.")
    return run_with_settings(parser, sys.argv[1:] if command is None else list(command), _run)


def _run(given: dict[str, Any], command: Sequence[str]) -> "Run":
    from study import api  # late, so that --help is fast

    return api.from_command_line(api.run_reproduction, given, command)


if __name__ == "__main__":
    sys.exit(main())
