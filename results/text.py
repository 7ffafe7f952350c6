"""A run in words for the terminal: what `python -m results show` and the end of a study print."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.analysis import best, epochs_saved, leaderboard
from results.doctor import diagnose
from results.evidence import sentences
from results.run import Run
from results.words import mean_accuracy, recipe_in_words, word

SHOWN = 10


def show(run: Run, console: Console) -> None:
    """Ranking, the winner's recipe beside the baseline's, the verdict, the doctor's findings, where the files are."""
    if run.synthetic:
        console.print("Synthetic images: no number here says anything about CIFAR-10.", style="bold yellow")
    for line in run.dropped:
        console.print(f"Left out: {line}", style="yellow", soft_wrap=True, markup=False)
    if len(run.trials):
        _ranking(run, console)
    elif run.study["kind"] == "search":
        console.print("The record holds no trial.")
    ranked = leaderboard(run)
    if len(ranked):
        _difference(run, int(best(run).name), console)  # type: ignore[call-overload]
    if run.final is not None:
        _final(run.final, console)
    else:
        console.print(f"\n{_no_final(run)}", highlight=False, markup=False, soft_wrap=True)
    _evidence(run, console)
    _findings(run, console)
    console.print(f"\nFiles: {run.path}", soft_wrap=True, highlight=False, markup=False)


def _no_final(run: Run) -> str:
    status, reason = run.study["status"], run.study["reason"]
    if status == "finished":
        return "No verdict: what the final trainings gave on the test set is missing."
    return f"No verdict yet: the study is {status}{f' ({reason})' if reason else ''}."


def _ranking(run: Run, console: Console) -> None:
    ranked = leaderboard(run)
    counts = run.trials["status"].value_counts()
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    saved = epochs_saved(run)
    console.print(f"\n{len(run.trials)} trials: {said}. {run.trials['epochs'].sum()} epochs, {saved:.0%} saved.\n")
    start = "baseline" if run.base == run.baseline else "the recipe that the study began with"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("rank", "trial", "val. accuracy", "epochs", "status", "recipe"):
        table.add_column(heading, justify="left" if heading in ("status", "recipe") else "right", overflow="fold")
    for rank, (number, row) in enumerate(ranked.head(SHOWN).iterrows(), 1):
        status = row["status"] if row["status"] == "completed" else f"{row['status']} ({row['stop_reason']})"
        recipe = start if number == 0 else recipe_in_words(run.config(int(number)))  # type: ignore[call-overload]
        accuracy = run.metric.text(row[run.metric.column])
        table.add_row(str(rank), str(number), accuracy, str(row["epochs"]), Text(status), Text(recipe))
    console.print(table)


def _difference(run: Run, number: int, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("field", "baseline", f"winner (trial {number})"):
        table.add_column(heading)
    for name, value in run.recipe(number).items():
        if name not in ("seed", "epochs") and value != run.baseline[name]:
            table.add_row(name, Text(word(run.baseline[name])), Text(word(value)))
    console.print()
    if table.row_count:
        console.print(table)
    else:
        console.print("The baseline itself did best.")


def _final(final: Any, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    epochs = final["final_epochs"]
    for heading in (f"after {epochs} epoch{'' if epochs == 1 else 's'}", "test accuracy", "95% interval"):
        table.add_column(heading)
    for role in ("winner", "tuned_baseline", "baseline", "recipe_under_test"):
        if role in final:
            low, high = final[role]["interval"]
            for each in final[role]["seeds"]:
                first = each is final[role]["seeds"][0]
                interval = f"{low:.2%} to {high:.2%}" if first else ""
                table.add_row(f"{role}, seed {each['seed']}".replace("_", " "), f"{each['accuracy']:.2%}", interval)
            if len(final[role]["seeds"]) > 1:
                mean = f"{mean_accuracy(final[role]):.2%}"
                table.add_row(f"{role}, mean of {len(final[role]['seeds'])}".replace("_", " "), mean, "")
    table.add_row("published baseline", f"{final['published_accuracy']:.2%}", "")
    console.print()
    console.print(table)
    if "sentence" in final:
        style = {"better": "bold green", "worse": "bold red"}.get(final["verdict"], "bold yellow")
        console.print(f"\n{final['sentence']}", style=style, highlight=False, markup=False)


def _evidence(run: Run, console: Console) -> None:
    said = sentences(run)
    if said:
        console.print("\nEvidence", style="bold")
    for sentence in said:
        console.print(f"- {sentence}", highlight=False, markup=False)


def _findings(run: Run, console: Console) -> None:
    findings = diagnose(run)
    if not findings:
        return
    console.print("\nFindings", style="bold")
    for finding in findings:
        text = Text.assemble("- ", (finding.name, "bold"), f" ({finding.severity}): {finding.evidence} ")
        console.print(text.append(finding.suggestion, "italic"))
