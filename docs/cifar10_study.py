"""Writes docs/cifar10-study.md: what a finished run of CIFAR-10 prints, and what the analysis of it gives.

python docs/cifar10_study.py runs/NAME "two cores of an AMD EPYC, beside other work"
"""

import code
import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import results

PAGE = Path(__file__).with_name("cifar10-study.md")
WIDTH = 118

HEAD = """# A CIFAR-10 study

What one run of the default job prints, and one sitting of analysis. This page is written by
`python docs/cifar10_study.py RUN MACHINE`; nothing in it was typed by hand.

    python -m study.run --samples 20 --seed {seed}

Begun {created}, on {machine}: one run.
Python {python}, torch {torch}, Ray {ray}, Optuna {optuna}; code {revision}.
Seconds: {seconds}.
Trials run {slots} at a time, so another run may suggest other ones.

## What it prints at the end

```
"""

SHELL = [
    "python -m results list",
    "python -m results export {run} --format csv | cut -d, -f1-6 | head -3",
    "python -m results export {run} --format optuna --output study.db",
    "python -m results show {run} --next-space next.py | tail -1",
]

PYTHON = """\
import results
run = results.load("{run}")
run
results.leaderboard(run)[["val_accuracy", "epochs", "status", "config/lr", "config/channels"]].head(4)
results.effects(run.at_epoch(3), "lr")
results.rank_correlation(run)
results.incumbent(run).iloc[[30, -1]]
results.per_class(run.predictions).loc[[3, 5, 8]]
results.diagnose(run)[0].suggestion
run.to_optuna().best_trial.number
"""


def page(run: results.Run, machine: str) -> str:
    """The whole page; commands run in the folder above the folder of runs."""
    study, name = run.study, f"{run.path.parent.name}/{run.path.name}"
    seconds = ", ".join(f"{phase} {value:.0f}" for phase, value in study["seconds"].items())
    versions = study["versions"]
    text = HEAD.format(
        seed=study["seed"],
        created=str(study["created"])[:16].replace("T", " "),
        machine=machine,
        python=versions["python"],
        torch=versions["torch"],
        ray=versions["ray"],
        optuna=versions["optuna"],
        revision=str(study["git"]["revision"])[:7],
        seconds=seconds,
        slots=study["slots"],
    )
    text += output(f"python -m results show {name}") + "```\n\n## From a shell\n\n```\n"
    for command in (each.format(run=name) for each in SHELL):
        text += f"$ {command}\n{output(command)}"
    return text + "```\n\n## From Python\n\n```\n" + session(PYTHON.format(run=name)) + "```\n"


def output(command: str) -> str:
    """Standard output of a shell command, folded to the width of the page."""
    done = subprocess.run(f"({command}) | fold -s -w {WIDTH}", shell=True, capture_output=True, text=True, check=True)
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def session(source: str) -> str:
    """Lines of Python with what an interactive interpreter prints for each."""
    interpreter, text = code.InteractiveInterpreter(), ""
    for line in source.splitlines():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            interpreter.runsource(line)
        text += f">>> {line}\n" + "".join(f"{each.rstrip()}\n" for each in printed.getvalue().splitlines())
    return text


if __name__ == "__main__":
    run_dir = Path(sys.argv[1]).resolve()
    os.chdir(run_dir.parent.parent)
    PAGE.write_text(page(results.load_run(run_dir), sys.argv[2]))
