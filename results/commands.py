"""The commands of `python -m results`, one function each, from parsed arguments to what is printed."""

import argparse
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from results import terminal
from results.analysis import best, leaderboard
from results.comparison import compare
from results.doctor import diagnose
from results.formatting import count, mean_accuracy, on_one_line
from results.next_space import next_space
from results.run import Run, RunError
from results.run_directory import find_runs, load_run, read_events
from results.show import show


class UsageError(ValueError):
    """What was asked cannot be done. The message is one line for the user."""


def run_show(asked: argparse.Namespace) -> None:
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
    console = terminal.console()
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


def run_report(asked: argparse.Namespace) -> None:
    from results import report

    print(report.write(load_run(asked.run)))


def run_watch(asked: argparse.Namespace) -> None:
    from results.watch import ReportServer

    run = load_run(asked.run)
    if not 0 <= asked.port <= 65535:
        raise UsageError(f"--port is {asked.port}; allowed: 0 to 65535, 0 for any that is free")
    try:
        server = ReportServer(run.path, asked.port)
    except OSError as error:
        why = f"port {asked.port} of this machine cannot be used: {error.strerror}"
        raise UsageError(f"{why}; try another --port") from None
    with server:
        print(f"{on_one_line(str(run.path))} at {server.url}  (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def run_log(asked: argparse.Namespace) -> None:
    from results.loggers import LoggerError, open_logger

    run = load_run(asked.run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            logger = open_logger(asked.to, run.path, run.study)
        except LoggerError as error:
            raise UsageError(str(error)) from None
        for event in read_events(run):
            logger.apply(event)
        logger.finish(run)
    failed = [str(warning.message) for warning in caught if logger.has_failed and asked.to in str(warning.message)]
    if failed:
        raise UsageError(failed[0])
    print(f"{on_one_line(str(run.path))}: {count(len(run.trials), 'trial')} in {asked.to}")


def run_fetch(asked: argparse.Namespace) -> None:
    from results.fetch import fetch

    print(fetch(asked.url, asked.runs_dir))


def run_compare(asked: argparse.Namespace) -> None:
    if len(asked.runs) < 2:
        raise UsageError("compare takes two runs or more")
    table = compare([load_run(path) for path in asked.runs])
    if asked.json:
        _print_json(_records(table.reset_index()))
        return
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    rows.add_column("")
    for path in table.index:
        rows.add_column(Text(on_one_line(path)), overflow="fold")
    for name, values in table.dropna(axis="columns", how="all").items():
        rows.add_row(
            _COMPARED.get(str(name), str(name).replace("_", " ")), *(Text(_said(str(name), value)) for value in values)
        )
    console = terminal.console()
    if (table["dataset"] == "synthetic").any():
        console.print("Synthetic images: no number here says anything about real ones.", style="bold yellow")
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


def run_export(asked: argparse.Namespace) -> None:
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

    from results.optuna_storage import opened

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    output.touch()  # a directory that is not there is said in a line, before SQLite says it in many
    exported = run.to_optuna()
    with opened(f"sqlite:///{output}") as storage:
        study = optuna.create_study(study_name=run.name, storage=storage, direction=exported.direction)
        study.add_trials(exported.trials)


def run_list(asked: argparse.Namespace) -> None:
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
        table.add_row(*(Text(on_one_line(cell)) for cell in (*cells, row["status"])))
    # A run is a line in a terminal as well: in narrow columns neither dates nor paths could be read or copied.
    terminal.console(one_line_each=True).print(table)


def _listed(path: Path) -> dict[str, Any]:
    columns = ("date", "run", "kind", "space", "dataset", "samples", "best", "test_accuracy", "verdict")
    row: dict[str, Any] = {**dict.fromkeys(columns), "run": str(path)}
    try:
        run = load_run(path)
    except RunError as error:
        return {**row, "status": f"unreadable: {error}"}
    study, final = run.study, run.final or {}
    row |= {"date": str(study["created"])[:16].replace("T", " "), "status": run.status}
    row |= {name: study[name] for name in ("kind", "space", "dataset", "samples")}
    if len(leaderboard(run)):
        row["best"] = run.metric.text(float(best(run)[run.metric.column]))
    side = final.get("winner") or final.get("recipe_under_test")
    return {**row, "test_accuracy": side and mean_accuracy(side), "verdict": final.get("verdict")}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as JSON-ready rows; missing values are null."""
    plain = table.astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in plain.where(table.notna(), None).to_dict("records")
    ]


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2))
