"""A run in words for the terminal: what `python -m results show` and the end of a study print."""

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.analysis import epochs_saved, leaderboard
from results.doctor import diagnose
from results.evidence import sentences
from results.formatting import count, mean_accuracy, on_one_line, recipe_in_words, used, word
from results.published import against_publication
from results.run import Run

SHOWN = 10  # trials of the ranking
NOTEBOOK_COLUMNS = 110


def show(run: Run, console: Console) -> None:
    """Ranking, the winner's recipe beside the baseline's, the verdict, the doctor's findings, where the files are."""
    if run.synthetic:
        console.print("Synthetic images: no number here says anything about real ones.", style="bold yellow")
    for line in run.dropped:
        _say(console, f"Left out: {line}", style="yellow")
    if run.status != "finished":
        _say(console, state(run), style="bold yellow")
    if len(run.trials):
        _ranking(run, console)
    elif run.study["kind"] == "search":
        _say(console, "No trial has begun.")
    _difference(run, console)
    if run.final is not None:
        _final(run.final, console)
        _published(run, console)
    elif run.status == "finished":
        _say(console, "\nNo verdict: what the final trainings gave on the test set is missing.")
    _leaks(run, console)
    _evidence(run, console)
    _findings(run, console)
    _say(console, f"\nFiles: {run.path}")


def as_html(run: Run) -> str:
    """What `show` prints, as one block of HTML for a notebook."""
    console = Console(record=True, file=io.StringIO(), width=NOTEBOOK_COLUMNS, force_jupyter=False)
    show(run, console)
    block = '<pre style="white-space: pre-wrap; line-height: 1.3">{code}</pre>'
    return console.export_html(inline_styles=True, code_format=block)


def state(run: Run) -> str:
    """How far the study is, in a sentence or two, with the command that continues it where one does."""
    reason = f" ({run.study['reason']})" if run.study["reason"] else ""
    so_far = "" if run.final is not None else "No verdict yet: "
    if run.status == "interrupted":
        return f"{so_far}the study was interrupted. Continue it:  {run.resume_command}"
    if run.status == "running":
        return f"{so_far}the study is running."
    if run.status == "finished":
        return "The study is finished."
    ended = "failed" if run.status == "failed" else f"was {run.status}"
    return f"{so_far}the study {ended}{reason}. Continue it:  {run.resume_command}"


def _say(console: Console, text: str, style: str = "") -> None:
    """One line of text, which the terminal may wrap, with nothing in it that a terminal acts on."""
    lines = "\n".join(map(on_one_line, text.split("\n")))
    console.print(lines, style=style, soft_wrap=True, highlight=False, markup=False)


def _plain(text: str) -> Text:
    return Text(on_one_line(text))


def _ranking(run: Run, console: Console) -> None:
    counts = ", ".join(f"{number} {status}" for status, number in run.trials["status"].value_counts().items())
    trained = f"{count(len(run.trials), 'trial')}: {counts}. {count(int(run.trials['epochs'].sum()), 'epoch')}"
    saved = f", {epochs_saved(run):.0%} saved" if run.status == "finished" else " so far"
    _say(console, f"\n{trained}{saved}.\n")
    ranked = leaderboard(run)
    if ranked.empty:
        return
    start = "baseline" if run.base == run.baseline else "the recipe that the study began with"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("rank", "trial", run.metric.words.replace("validation", "val."), "epochs", "status"):
        table.add_column(heading, justify="left" if heading == "status" else "right", no_wrap=True)
    recipes: list[str] = []
    shown = ranked.head(SHOWN)
    common = _in_all(run, [int(number) for number in shown.index if number != 0])
    for rank, (number, row) in enumerate(shown.iterrows(), 1):
        reason = row["stop_reason"] if isinstance(row["stop_reason"], str) else ""
        status = f"{row['status']} ({reason})" if reason else row["status"]
        drawn = run.config(int(number))  # type: ignore[call-overload]
        own = {name: each for name, each in drawn.items() if name not in common}
        recipe = start if number == 0 else recipe_in_words(own)
        value = run.metric.text(row[run.metric.column])
        table.add_row(str(rank), str(number), value, str(row["epochs"]), _plain(status))
        recipes.append(f"trial {number}: {recipe}")
    console.print(table)
    console.print()
    # Below the table and a line each, so that they can be read, searched and copied in any width.
    for line in recipes:
        _say(console, line)
    if common:
        _say(console, f"In all of them but trial 0: {recipe_in_words(common)}")


def _in_all(run: Run, numbers: list[int]) -> dict[str, Any]:
    """The Recipe fields that a space sets to one value in all of several trials."""
    configs = [run.config(number) for number in numbers]
    if len(configs) < 2:
        return {}
    return {
        name: value
        for name, value in configs[0].items()
        if all(name in each and each[name] == value for each in configs)
    }


def _difference(run: Run, console: Console) -> None:
    """The fields in which the trial that was chosen, or is the best so far, differs from the baseline."""
    ranked = leaderboard(run)
    if ranked.empty:
        return
    chosen = run.best is not None and run.best["trial"] in run.trials.index
    number = int(run.best["trial"]) if run.best is not None and chosen else int(ranked.index[0])
    best = "winner" if chosen or run.final is not None else "best so far"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("field", "baseline", f"{best} (trial {number})"):
        table.add_column(heading)
    mine, base = run.recipe(number), run.baseline
    if run.final is not None and "winner" in run.final:
        mine, base = used(mine, run.final["winner"]), used(base, run.final["baseline"])
    for name, value in mine.items():
        if name not in ("seed", "epochs") and value != base.get(name):
            table.add_row(_plain(name), _plain(word(base.get(name))), _plain(word(value)))
    console.print()
    if table.row_count:
        console.print(table)
    else:
        _say(console, f"The baseline itself is the {best}.")


def _final(final: Mapping[str, Any], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in (f"after {count(final['final_epochs'], 'epoch')}", "test accuracy", "95% interval"):
        table.add_column(heading)
    for role in ("winner", "tuned_baseline", "baseline", "recipe_under_test"):
        if final.get(role):
            _add_side(table, role.replace("_", " "), final[role])
    if final.get("published_accuracy") is not None:
        table.add_row("published baseline", f"{final['published_accuracy']:.2%}", "")
    console.print()
    console.print(table)
    if "sentence" in final:
        style = {"better": "bold green", "worse": "bold red"}.get(final["verdict"], "bold yellow")
        _say(console, f"\n{final['sentence']}", style=style)


def _published(run: Run, console: Console) -> None:
    """Each published number beside the measured ones: a line each, whatever the width."""
    for row in against_publication(run):
        form = row["format"]
        low, high = form.format(row["lowest"]), form.format(row["highest"])
        inside = "inside" if row["inside"] else "outside"
        _say(
            console,
            f"{row['quantity']}: published {form.format(row['published'])}, measured {form.format(row['mean'])} "
            f"({low} to {high} over {count(len(row['values']), 'seed')}; the published number is {inside})",
        )


def _leaks(run: Run, console: Console) -> None:
    leaks = (run.data or {}).get("leaks")
    if leaks and leaks["count"]:
        share = leaks["count"] / leaks["tests"]
        images = count(leaks["tests"], "test image")
        _say(console, f"\nLeaks: {leaks['count']:,} of {images} ({share:.1%}) are also in training, equal or nearly.")


def _add_side(table: Table, name: str, side: Mapping[str, Any]) -> None:
    low, high = side["interval"]
    for at, each in enumerate(side["seeds"]):
        interval = "" if at else f"{low:.2%} to {high:.2%}"
        table.add_row(f"{name}, seed {each['seed']}", f"{each['accuracy']:.2%}", interval)
    if len(side["seeds"]) > 1:
        table.add_row(f"{name}, mean of {len(side['seeds'])}", f"{mean_accuracy(side):.2%}", "")


def _evidence(run: Run, console: Console) -> None:
    said = sentences(run)
    if said:
        console.print("\nEvidence", style="bold")
    for sentence in said:
        _say(console, f"- {sentence}")


def _findings(run: Run, console: Console) -> None:
    findings = diagnose(run)
    if not findings:
        return
    console.print("\nFindings", style="bold")
    for finding in findings:
        text = Text.assemble("- ", (finding.name, "bold"), f" ({finding.severity}): {on_one_line(finding.evidence)} ")
        console.print(text.append(on_one_line(finding.suggestion), "italic"), soft_wrap=True)
