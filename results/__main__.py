"""What a person does after the study, from a shell.

python -m results show latest
python -m results compare runs/one runs/other
python -m results export runs/one --format csv | head

RUN is a run directory, or `latest`, the newest under runs/.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.analysis import best, leaderboard
from results.comparison import compare
from results.doctor import diagnose
from results.next_space import next_space
from results.run import Run, RunError
from results.run_directory import RUNS_DIR, find_runs, load_run
from results.text import show
from results.words import mean_accuracy

# A pipe has no width to fit into: a trial or a run is a line there, for grep.
PIPE_WIDTH = 10_000
FORMATS = ("csv", "parquet", "json", "optuna")


class UsageError(ValueError):
    """What was asked cannot be done. The message is one line for the user."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that refuses in one line, without repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def flags() -> Parser:
    parser = Parser(prog="results", description="What came out of a study. RUN is a run directory, or `latest`.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, does: Callable[[argparse.Namespace], None], about: str, *, with_json: bool) -> Parser:
        each = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        each.set_defaults(does=does)
        if with_json:
            each.add_argument("--json", action="store_true", help="JSON on standard output, for scripts")
        return each

    shown = command("show", _show, "ranking, winner beside baseline, verdict, the doctor's findings", with_json=True)
    shown.add_argument("run", metavar="RUN")
    about = "also write the space to search next, for study.run --space FILE:space"
    shown.add_argument("--next-space", type=Path, metavar="FILE", help=about)
    reported = command("report", _report, "write report.html into the run directory", with_json=False)
    reported.add_argument("run", metavar="RUN")
    compared = command("compare", _compare, "runs side by side, each against the first", with_json=True)
    compared.add_argument("runs", metavar="RUN", nargs="+")
    exported = command("export", _export, "the trials table, all of the run, or its Optuna study", with_json=False)
    exported.add_argument("run", metavar="RUN")
    about = "csv, parquet: one row per trial; json: everything; optuna: an SQLite file for optuna-dashboard"
    exported.add_argument("--format", choices=FORMATS, required=True, help=about)
    about = "a file; standard output if not given, which parquet and optuna do not take"
    exported.add_argument("--output", type=Path, metavar="FILE", help=about)
    listed = command("list", _list, "all runs: date, space, samples, best, verdict, status", with_json=True)
    listed.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path(RUNS_DIR))
    fetched = command("fetch", _fetch, "bring a run here from the store that a cluster wrote it to", with_json=False)
    fetched.add_argument("url", metavar="URL", help="the run in its store, such as s3://BUCKET/studies/NAME")
    fetched.add_argument("--runs-dir", type=Path, default=Path(RUNS_DIR), metavar="DIR", help="where runs are kept")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for a wrong command line, run or output, with one line that says what is wrong."""
    asked = flags().parse_args(arguments)
    try:
        asked.does(asked)
        sys.stdout.flush()
    except (RunError, UsageError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader, such as head, has had enough; Python would complain of it once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # pandas raises some of its own, which name no file
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        print(f"results: {said}", file=sys.stderr)
        return 2
    return 0


def _show(asked: argparse.Namespace) -> None:
    run = load_run(asked.run)
    if asked.next_space is not None:
        _write_next_space(run, asked.next_space)
    if asked.json:
        ranked = leaderboard(run)
        winner = None if ranked.empty else {"number": int(ranked.index[0]), "recipe": run.recipe(int(ranked.index[0]))}
        content = {"study": run.study, "winner": winner, "final": run.final, "dropped": run.dropped}
        findings = [asdict(finding) for finding in diagnose(run)]
        _print_json(
            {"run": str(run.path), **content, "leaderboard": _records(ranked.reset_index()), "findings": findings}
        )
        return
    console = _console()
    show(run, console)
    if asked.next_space is not None:
        console.print(f"Next:  --space {asked.next_space}:space", soft_wrap=True, highlight=False, markup=False)


def _write_next_space(run: Run, file: Path) -> None:
    if file.suffix != ".py":
        raise UsageError(f"--next-space is {file}; allowed: a name that ends in .py")
    if file.exists():
        raise UsageError(f"--next-space: {file} is there already")
    try:
        source = next_space(run)
    except ValueError as error:
        raise UsageError(str(error)) from None
    file.write_text(source)


def _report(asked: argparse.Namespace) -> None:
    from results import report

    print(report.write(load_run(asked.run)))


def _compare(asked: argparse.Namespace) -> None:
    if len(asked.runs) < 2:
        raise UsageError("compare takes two runs or more")
    table = compare([load_run(path) for path in asked.runs])
    if asked.json:
        _print_json(_records(table.reset_index()))
        return
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    rows.add_column("")
    for path in table.index:
        rows.add_column(Text(path), overflow="fold")
    for name, values in table.dropna(axis="columns", how="all").items():
        rows.add_row(
            _COMPARED.get(str(name), str(name).replace("_", " ")), *(Text(_said(str(name), value)) for value in values)
        )
    console = _console()
    if (table["dataset"] == "synthetic").any():
        console.print("Synthetic images: no number here says anything about CIFAR-10.", style="bold yellow")
    console.print(rows)
    first = table.index[0]
    for path, row in table.iloc[1:].iterrows():
        if pd.notna(row["verdict"]):
            console.print(f"\n{path}: {_verdict(row, first)}", highlight=False, markup=False, soft_wrap=True)
        if not row["same_data"]:
            warning = f"{path} was trained on other images than {first}: no accuracy of theirs can be compared."
            console.print(warning, style="yellow", markup=False, soft_wrap=True)
        elif not row["same_split"]:
            warning = f"{path} held out other images for validation than {first}: compare test accuracies only."
            console.print(warning, style="yellow", markup=False, soft_wrap=True)


# Rows of the comparison whose column's name alone would not be understood.
_COMPARED = {"only_this": "right, first wrong", "only_first": "wrong, first right", "p_value": "McNemar p"}


def _verdict(row: "pd.Series[Any]", first: object) -> str:
    opening = {
        "better": f"its model is better than that of {first}",
        "worse": f"its model is worse than that of {first}",
        "no evidence": f"no evidence that its model and that of {first} differ",
    }[row["verdict"]]
    p_value = f"p = {row['p_value']:.2g}" if row["p_value"] >= 1e-12 else "p < 1e-12"
    return f"{opening}: {100 * row['difference']:+.2f} points on the same test images (McNemar {p_value})."


def _said(column: str, value: Any) -> str:
    if pd.isna(value):
        return ""
    if column == "test_accuracy":
        return f"{value:.2%}"
    if column == "difference":
        return f"{100 * value:+.2f} points"
    if column == "p_value":
        return f"{value:.2g}" if value >= 1e-12 else "< 1e-12"
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


def _export(asked: argparse.Namespace) -> None:
    run, output = load_run(asked.run), asked.output
    if output is None and asked.format in ("parquet", "optuna"):
        raise UsageError(f"--format {asked.format} needs --output FILE: it is no text")
    if output is not None and output.exists():
        raise UsageError(f"--output: {output} is there already")
    match asked.format:
        case "csv":
            run.trials.to_csv(sys.stdout if output is None else output)
        case "parquet":
            run.trials.to_parquet(output)
        case "json":
            tables = {"trials": _records(run.trials.reset_index()), "epochs": _records(run.epochs)}
            content = {"study": run.study, **tables, "final": run.final}
            if output is None:
                _print_json(content)
            else:
                output.write_text(json.dumps(content, indent=2) + "\n")
        case _:
            _export_optuna(run, output)


def _export_optuna(run: Run, output: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    output.touch()  # a directory that is not there is said in a line, before SQLite says it in many
    study = optuna.create_study(study_name=run.name, storage=f"sqlite:///{output}", direction="maximize")
    study.add_trials(run.to_optuna().trials)


def _fetch(asked: argparse.Namespace) -> None:
    from results.fetch import fetch

    print(fetch(asked.url, asked.runs_dir))


def _list(asked: argparse.Namespace) -> None:
    paths = find_runs(asked.directory)
    if not paths:
        raise UsageError(f"{asked.directory} holds no run (a run is a directory with a study.json)")
    rows = sorted((_listed(path) for path in paths), key=lambda row: str(row["date"]))
    if asked.json:
        _print_json(rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("date", "run", "space", "samples", "validation", "test", "verdict", "status"):
        table.add_column(heading)
    for row in rows:
        space = "(baseline)" if row["kind"] == "baseline" else str(row["space"] or "")
        made_up = " (synthetic images)" if row["dataset"] == "synthetic" else ""
        samples = "" if row["kind"] == "baseline" else str(row["samples"] or "")
        accuracies = (row["best"] or "", "" if row["test_accuracy"] is None else f"{row['test_accuracy']:.2%}")
        cells = (row["date"] or "", row["run"], space + made_up, samples, *accuracies, row["verdict"] or "")
        table.add_row(*(Text(cell) for cell in (*cells, row["status"])))
    # A run is a line in a terminal as well: in narrow columns neither dates nor paths could be read or copied.
    Console(width=PIPE_WIDTH).print(table)


def _listed(path: Path) -> dict[str, Any]:
    columns = ("date", "run", "kind", "space", "dataset", "samples", "best", "test_accuracy", "verdict")
    row: dict[str, Any] = {**dict.fromkeys(columns), "run": str(path)}
    try:
        run = load_run(path)
    except RunError as error:
        return {**row, "status": f"unreadable: {error}"}
    study, final = run.study, run.final or {}
    row |= {"date": str(study["created"])[:16].replace("T", " "), "status": study["status"]}
    row |= {name: study[name] for name in ("kind", "space", "dataset", "samples")}
    if len(leaderboard(run)):
        row["best"] = run.metric.text(float(best(run)[run.metric.column]))
    side = final.get("winner") or final.get("recipe_under_test")
    return {**row, "test_accuracy": side and mean_accuracy(side), "verdict": final.get("verdict")}


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as JSON-ready rows; missing values are null."""
    plain = table.astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in plain.where(table.notna(), None).to_dict("records")
    ]


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    sys.exit(main())
