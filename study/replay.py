"""Train a trial again from a run's event log, and say whether every number is the same:

    python -m study.replay runs/NAME --trial 7

On a CPU, with as many threads, the same torch and the same machine, every loss and accuracy is equal to the last bit.
"""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from study.command_line import Parser, run_command

PROGRAM = "study.replay"


def main(command: Sequence[str] | None = None) -> int:
    """Replays; the exit code is 0 if the curve is the same, 1 if it is not, 2 for a wrong input."""
    parser = Parser(prog=PROGRAM, description="Train a trial again from a run's event log, and compare every epoch.")
    parser.add_argument("run", metavar="RUN", help="a run directory, its name, or 'latest'")
    parser.add_argument("--trial", type=int, required=True, metavar="N", help="the trial's number")
    parser.add_argument("--data-dir", default="data", metavar="DIR", help="where images are kept (default: data)")
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="where runs are kept (default: runs)")
    arguments = parser.parse_args(sys.argv[1:] if command is None else list(command))

    def call() -> int:
        from study import api

        where = {"data_dir": arguments.data_dir, "runs_dir": arguments.runs_dir}
        with api.errors_as_study_errors():
            return 0 if api.replay(arguments.run, arguments.trial, say=print, **where).same else 1

    return run_command(PROGRAM, call)


class _CallableModule(ModuleType):
    """Importing this module puts it in the place of the function `study.replay`, so it does the same when called."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from study import api

        return api.replay(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    sys.exit(main())
