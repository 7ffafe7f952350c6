"""python -m results show RUN: a run in words. RUN is a run directory, or `latest`."""

import argparse
import sys

from rich.console import Console

from results.summary import show
from results.tables import RunError, load_run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="results", description="What came out of a study.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shown = commands.add_parser("show", help="the ranking, the winner beside the baseline, the verdict")
    shown.add_argument("run", metavar="RUN", help="a run directory, or latest")
    try:
        run = load_run(parser.parse_args(arguments).run)
    except RunError as error:
        print(f"results: {error}", file=sys.stderr)
        return 2
    # A pipe has no width; this one cuts no table.
    show(run, Console(width=None if sys.stdout.isatty() else 160))
    return 0


if __name__ == "__main__":
    sys.exit(main())
