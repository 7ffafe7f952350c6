"""What a person does after the study, from a shell.

python -m results show latest
python -m results compare runs/one runs/other
python -m results export runs/one --format csv | head

RUN is a run directory, or `latest`, the newest under runs/.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from results import commands
from results.formatting import on_one_line
from results.run import RunError
from results.run_directory import RUNS_DIR
from results.terminal import discard_output, tolerate_any_output

FORMATS = ("csv", "parquet", "json", "optuna")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that refuses in one line, without repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _version() -> str:
    try:
        return f"imagestudy {version('imagestudy')}"
    except PackageNotFoundError:
        return "imagestudy (not installed)"


def flags() -> Parser:
    about = "What came out of a study. RUN is a run directory, or `latest`."
    codes = "exit codes: 0 done; 2 the command line or a run is wrong, or a file cannot be written"
    parser = Parser(prog="results", description=about, epilog=codes)
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, does: Callable[[argparse.Namespace], None], about: str, *, with_json: bool) -> Parser:
        each = subparsers.add_parser(name, help=about, description=about, allow_abbrev=False)
        each.set_defaults(does=does)
        if with_json:
            each.add_argument("--json", action="store_true", help="JSON on standard output, for scripts")
        return each

    shown = command("show", commands.run_show, "ranking, winner against baseline, verdict, findings", with_json=True)
    shown.add_argument("run", metavar="RUN")
    about = "also write the space to search next, for study.run --space FILE:space"
    shown.add_argument("--next-space", type=Path, metavar="FILE", help=about)
    reported = command("report", commands.run_report, "write report.html into the run directory", with_json=False)
    reported.add_argument("run", metavar="RUN")
    watched = command("watch", commands.run_watch, "serve the live report on this machine", with_json=False)
    watched.add_argument("run", metavar="RUN")
    watched.add_argument("--port", type=int, default=8770, metavar="N", help="of 127.0.0.1 (default: %(default)s)")
    logged = command("log", commands.run_log, "write the run into a tracker", with_json=False)
    logged.add_argument("run", metavar="RUN")
    about = "tensorboard, mlflow or wandb; each must be installed. Logging again doubles nothing"
    logged.add_argument("--to", required=True, metavar="TRACKER", help=about)
    compared = command("compare", commands.run_compare, "runs side by side, each against the first", with_json=True)
    compared.add_argument("runs", metavar="RUN", nargs="+")
    exported = command("export", commands.run_export, "trials table, all of the run, or Optuna study", with_json=False)
    exported.add_argument("run", metavar="RUN")
    about = "csv, parquet: one row per trial; json: everything; optuna: an SQLite file for optuna-dashboard"
    exported.add_argument("--format", choices=FORMATS, required=True, help=about)
    about = "a file; standard output if not given, which parquet and optuna do not take"
    exported.add_argument("--output", type=Path, metavar="FILE", help=about)
    listed = command("list", commands.run_list, "all runs: date, space, samples, best, verdict, status", with_json=True)
    listed.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path(RUNS_DIR))
    fetched = command("fetch", commands.run_fetch, "bring a run here from a store", with_json=False)
    fetched.add_argument("url", metavar="URL", help="the run in its store, such as s3://BUCKET/studies/NAME")
    fetched.add_argument("--runs-dir", type=Path, default=Path(RUNS_DIR), metavar="DIR", help="where runs are kept")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for a wrong command line, run or output, with one line that says what is wrong."""
    tolerate_any_output()
    asked = flags().parse_args(arguments)
    try:
        asked.does(asked)
        sys.stdout.flush()
    except (RunError, commands.UsageError) as error:
        print(f"results: {on_one_line(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        # pandas raises some of its own, which name no file
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        print(f"results: {on_one_line(said)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
