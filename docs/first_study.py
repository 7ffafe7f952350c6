"""Make every output in docs/first-study.md and docs/analysis.md again, from one run of the study that the former shows.

python docs/first_study.py "two cores of an AMD EPYC, shared with other work"

The study is run in runs/digits-demo, which must not exist yet. What stands between `<!-- made: NAME -->` and
`<!-- end -->` is written; the text around is yours, so read it again afterwards.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cifar10_study import session

import results
from results import Run

HERE = Path(__file__).parent
BLOCK = re.compile(r"(<!-- made: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
COMMAND = re.compile(r"^python -m (study\.run .*--name digits-demo)$", re.MULTILINE)
WIDTH = 110


@dataclass(frozen=True)
class Shown:
    """What the pages show: the run, the lines that its command printed, and the machine in words."""

    run: Run
    printed: list[str]
    machine: str


def provenance(shown: Shown, before: str) -> str:
    """When, where and with what, and how long each part took."""
    study = shown.run.study
    names = {"python": "Python", "torch": "torch", "ray": "Ray", "optuna": "Optuna"}
    versions = ", ".join(
        f"{shown_as} {study['versions'][name]}" for name, shown_as in names.items() if name in study["versions"]
    )
    parts = ", ".join(f"{part.replace('_', ' ')} {spent:.0f} s" for part, spent in study["seconds"].items())
    text = (
        f"One run, seed {study['seed']}, {study['created'][:10]}, on {shown.machine}; {versions}. "
        f"It took {sum(study['seconds'].values()):.0f} s: {parts}."
    )
    return "\n".join(textwrap.wrap(text, 118))


def plan(shown: Shown, before: str) -> str:
    """From `Search:` to the estimated time."""
    return code(lines_between(shown.printed, "Search: ", "Time: "))


def search(shown: Shown, before: str) -> str:
    """The lines about the baseline and about the winner."""
    told = tuple(f"trial {number} " for number in {0, int(results.best(shown.run).name)})
    return code(line for line in shown.printed if line.startswith(told))


def comparison(shown: Shown, before: str) -> str:
    """Winner against baseline, up to the verdict."""
    lines = lines_between(shown.printed, "field ", "Evidence")
    return code(lines[:-1])


def evidence(shown: Shown, before: str) -> str:
    """Evidence and findings."""
    return code(lines_between(shown.printed, "Evidence", "Files: ")[:-1])


def asked(shown: Shown, before: str) -> str:
    """The lines of Python that are there, each with what it prints now."""
    return "```\n" + session("".join(f"{line}\n" for line in re.findall(r"^>>> (.*)$", before, re.MULTILINE))) + "```"


BLOCKS: dict[str, Callable[[Shown, str], str]] = {
    "provenance": provenance,
    "plan": plan,
    "search": search,
    "comparison": comparison,
    "evidence": evidence,
    "asked": asked,
}


def lines_between(lines: list[str], first: str, last: str) -> list[str]:
    """From the line that begins with `first` to the one after it that begins with `last`, both included.

    Raises:
        ValueError: there is no such line.
    """
    start = index(lines, first, 0)
    return lines[start : index(lines, last, start) + 1]


def index(lines: list[str], beginning: str, start: int) -> int:
    for at, line in enumerate(lines[start:], start):
        if line.startswith(beginning):
            return at
    raise ValueError(f"the command printed no line that begins with {beginning!r}")


def code(lines: Iterable[str]) -> str:
    """A block of code, with long lines wrapped."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, WIDTH) or [""]]
    return "\n".join(["```", *"\n".join(part.rstrip() for part in wrapped).strip("\n").split("\n"), "```"])


def remade(page: str, shown: Shown) -> str:
    """The page with every block made again.

    Raises:
        KeyError: a block has a name that is not in BLOCKS.
    """
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](shown, found[3])}\n{found[4]}", page)


def main() -> None:
    pages = [HERE / "first-study.md", HERE / "analysis.md"]
    command = COMMAND.findall(pages[0].read_text())[0].split()
    done = subprocess.run([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, check=True)
    shown = Shown(results.load_run("runs/digits-demo"), done.stdout.splitlines(), sys.argv[1])
    for page in pages:
        page.write_text(remade(page.read_text(), shown))
        print(f"{page} is made again from {shown.run.path}")


if __name__ == "__main__":
    main()
