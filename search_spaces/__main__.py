"""Lists all search spaces with their hyperparameters, or shows draws from one of them.

python -m search_spaces
python -m search_spaces --show cnn --samples 5
"""

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from rich.console import Console
from rich.table import Table

from search_spaces import SPACES, Draw, draws, hyperparameters, in_words, load, priors_of
from search_spaces.space import DRAWS

# Where the output goes into a file or a pipe there is no width to fit into.
PIPE_WIDTH = 160


def overview(seed: int) -> list[Table]:
    """One table of all spaces, and one of each space's hyperparameters."""
    spaces = Table("space", "varies", "hyperparameters", "in one draw", title="Search spaces")
    details = []
    for name, space in SPACES.items():
        drawn = [len(each.params) for each in draws(space, DRAWS, seed)]
        found = hyperparameters(space)
        each = f"{min(drawn)}" if min(drawn) == max(drawn) else f"{min(drawn)} to {max(drawn)}"
        spaces.add_row(name, inspect.getdoc(space), str(len(found)), each)
        table = Table("hyperparameter", "range", "values", title=f"--space {name}")
        for hyperparameter, distribution in found.items():
            table.add_row(hyperparameter, in_words(distribution), values(distribution))
        details.append(table)
    return [spaces, *details]


def values(distribution: BaseDistribution) -> str:
    """How many values a hyperparameter can take."""
    if isinstance(distribution, CategoricalDistribution):
        return str(len(distribution.choices))
    if isinstance(distribution, IntDistribution):
        return str((distribution.high - distribution.low) // distribution.step + 1)
    return "continuous"


def samples(name: str, number: int, seed: int) -> list[Table]:
    """One table of a space's hyperparameters with their priors, and one of random draws, a column each.

    The draws have the Recipe's fields, and below them what was drawn under other names; what a draw lacks is empty.

    Raises:
        ValueError: an unknown space, one that cannot be drawn from (SpaceError), or whose priors are none.
    """
    space = load(name)
    priors = priors_of(space)
    ranges = Table("hyperparameter", "range", "prior", "source", title=f"--space {name}")
    for hyperparameter, distribution in hyperparameters(space).items():
        prior = priors.get(hyperparameter)
        words = ("uniform", "") if prior is None else (prior.in_words(), prior.source)
        ranges.add_row(hyperparameter, in_words(distribution), *words)
    found = draws(space, number, seed)
    drawn = Table("field", *map(str, range(number)), title=f"{number} draws from {name}")
    for values_of in ([each.fields for each in found], [_other(each) for each in found]):
        for field in dict.fromkeys(field for values in values_of for field in values):
            drawn.add_row(field, *(written(values[field]) if field in values else "" for values in values_of))
    return [ranges, drawn]


def _other(found: Draw) -> dict[str, Any]:
    """What was drawn and is no field of the recipe, or another value of it."""
    return {f"{name} (drawn)": value for name, value in found.params.items() if found.fields.get(name) != value}


def written(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    _tolerate_any_output()
    parser = argparse.ArgumentParser(prog="python -m search_spaces", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--show",
        metavar="SPACE",
        help="ranges, priors and draws of this space: a name, file.py:function or package.module:function",
    )
    parser.add_argument("--samples", type=int, default=5, metavar="N", help="how many draws (default 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws (default 0)")
    asked = parser.parse_args(arguments)
    if asked.samples < 1:
        parser.error(f"argument --samples is {asked.samples}; allowed: 1 or more")
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    try:
        if asked.show is None:
            console.print(*overview(asked.seed), sep="\n")
        else:
            console.print(*samples(asked.show, asked.samples, asked.seed), sep="\n")
        sys.stdout.flush()
    except ValueError as error:
        said = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(error))
        parser.exit(2, f"{parser.prog}: argument --show: {said}\n")
    except OSError as error:  # such as a full disk, or a reader that has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            parser.exit(1, f"{parser.prog}: {error.strerror or error}\n")


def _tolerate_any_output() -> None:
    """Characters that the terminal's encoding lacks become escapes; without a standard output nothing is said."""
    if sys.stdout is None:  # closed by the shell, as in `>&-`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    elif isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
