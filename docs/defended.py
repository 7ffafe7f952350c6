"""Make the figures of docs/defended.md again from a run.

python docs/defended.py runs/defended
python docs/screenshots.py runs/defended --evidence

The first command writes docs/defended-metrics.json and every block of docs/defended.md between `<!-- made: NAME -->`
and `<!-- end -->`; the text around them is yours. The second one takes the picture.
"""

import argparse
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console

import results
from results import Run
from results.formatting import count, duration
from results.run_directory import write_atomically
from results.show import show

HERE = Path(__file__).parent
BLOCK = re.compile(r"(<!-- made: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
WIDTH = 110


def provenance(run: Run) -> str:
    """When, where and with what, and how long each part took."""
    study = run.study
    hardware, git, versions, seconds = study["hardware"], study["git"], study["versions"], study["seconds"]
    revision = "" if git is None else f"; revision {git['revision'][:7]}{' with uncommitted changes' * git['dirty']}"
    packages = ", ".join(
        f"{name} {versions[name]}" for name in ("python", "torch", "ray", "optuna") if name in versions
    )
    parts = ", ".join(f"{part.replace('_', ' ')} {spent:.0f} s" for part, spent in seconds.items())
    where = f"{hardware['cpus']} cores of {hardware['cpu']}, {study['slots']} at a time{revision}"
    when = f"{study['dataset']}, {str(study['created'])[:10]}, seed {study['seed']}"
    return f"{when}, {where}; {packages}. {duration(sum(seconds.values()))}: {parts}."


def shown(run: Run) -> str:
    """What `results show` prints, without the ranking."""
    written = io.StringIO()
    show(run, Console(file=written, width=WIDTH, force_terminal=False))
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    start = next((at for at, line in enumerate(lines) if line.startswith("field ")), 0)
    return "\n".join(["```", f"$ python -m results show runs/{run.name}", "...", *lines[start:], "```"])


def seeds(run: Run) -> str:
    """Test accuracy of every role and seed."""
    final = run.final or {}
    roles = [role for role in ("winner", "tuned_baseline", "baseline") if role in final]
    headings = [f"seed {each['seed']}" for each in final[roles[0]]["seeds"]]
    rows = []
    for role in roles:
        side = final[role]
        deviation = side.get("standard_deviation")
        spread = "" if deviation is None else f"{100 * deviation:.2f} points"
        accuracies = [f"{each['accuracy']:.2%}" for each in side["seeds"]]
        rows.append([role.replace("_", " "), *accuracies, f"{side['mean']:.2%}" if "mean" in side else "", spread])
    return table([f"test accuracy, n = {final[roles[0]]['n']:,}", *headings, "mean", "standard deviation"], rows)


def finalists(run: Run) -> str:
    """What the search said of each finalist, and what fresh seeds say."""
    rows = [
        [number, f"{row['search_score']:.2%}", f"{row['confirmed_score']:.2%}", f"{100 * row['optimism']:+.2f}"]
        for number, row in results.finalists(run).iterrows()
    ]
    return table(["trial", "in the search", "confirmed", "optimism, points"], rows)


def audit(run: Run) -> str:
    """The stopped trials that were trained to the end."""
    rows = [
        [number, f"{row['stopped_at']:.0f}", f"{row['val_accuracy_there']:.2%}", f"{row['val_accuracy_at_end']:.2%}",
         f"{row['rank_at_end']:.0f}"]
        for number, row in results.audited(run).iterrows()
    ]  # fmt: skip
    end = f"at epoch {run.study['max_epochs']}"
    return table(["trial", "stopped after", "validation accuracy there", end, "rank at the end"], rows)


def budget(run: Run) -> str:
    """What each part cost."""
    costs = results.budget(run)
    costs.loc["all"] = costs.sum()
    rows = [
        [part, *(f"{row[name]:,.0f}" for name in ("trainings", "epochs", "images", "seconds"))]
        for part, row in costs.iterrows()
    ]
    return table(["part", "trainings", "epochs", "images trained on", "seconds, summed over trainings"], rows)


def replicates(run: Run) -> str:
    """The study and its replicates."""
    found = results.replicates([run, *run.replicates]).scores
    names = ["this study", *(f"replicate {each.path.name}" for each in run.replicates)]
    rows = [
        [name, f"{row['winner']:.2%}", f"{row['baseline']:.2%}", f"{100 * row['difference']:+.2f}", row["verdict"]]
        for name, (_, row) in zip(names, found.iterrows(), strict=False)
    ]
    return table(["", "winner", "baseline", "points", "verdict"], rows)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


BLOCKS: dict[str, Callable[[Run], str]] = {
    each.__name__: each for each in (provenance, shown, seeds, finalists, audit, budget, replicates)
}


def remade(page: str, run: Run) -> str:
    """The page with every block made from `run`.

    Raises:
        KeyError: a block has a name that is not in BLOCKS.
    """
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](run)}\n{found[4]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(prog="docs/defended.py", description="Make docs/defended.md's figures again.")
    parser.add_argument("run", metavar="RUN", help="a finished run directory, or latest")
    run = results.load_run(parser.parse_args().run)
    page = HERE / "defended.md"
    text = remade(page.read_text(), run)
    metrics = (run.path / "final" / "metrics.json").read_bytes()
    write_atomically(HERE / "defended-metrics.json", lambda file: file.write_bytes(metrics))
    write_atomically(page, lambda file: file.write_text(text))
    print(f"{count(len(BLOCK.findall(text)), 'block')} of {page} and defended-metrics.json, from {run.path}")


if __name__ == "__main__":
    main()
