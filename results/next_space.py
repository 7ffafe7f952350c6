"""The space to search next, as the source of a file that `--space` accepts: the same space, some of its ranges moved.

python -m results show runs/my-study --next-space next.py
python -m study.run --space next.py:space
"""

import textwrap

from results.formatting import count
from results.ranges import folded, moves
from results.run import Run

_SOURCE = '''{header}

import search_spaces

BEFORE = search_spaces.load({space!r})

# hyperparameter: (range or choices before, and now)
MOVED = {moved}


def space(trial):
    return BEFORE(Moved(trial))


class Moved:
    """An Optuna trial whose hyperparameters in MOVED have their new ranges; all else is the trial itself."""

    def __init__(self, trial):
        self.trial = trial

    def __getattr__(self, name):
        return getattr(self.trial, name)

    def suggest_float(self, name, low, high, **options):
        return self.trial.suggest_float(name, *moved(name, low, high), **options)

    def suggest_int(self, name, low, high, **options):
        return self.trial.suggest_int(name, *moved(name, low, high), **options)

    def suggest_categorical(self, name, choices):
        before, now = MOVED.get(name, (choices, choices))
        # A branch may offer some of the choices only.
        return self.trial.suggest_categorical(name, [each for each in now if each in choices or each not in before])


def moved(name, low, high):
    """Only an end that was the end of the whole range moves outwards; a branch's own narrower range stays inside."""
    (old_low, old_high), (new_low, new_high) = MOVED.get(name, ((low, high), (low, high)))
    low = new_low if low == old_low else max(low, new_low)
    high = new_high if high == old_high else min(high, new_high)
    return low, high
'''


def next_space(run: Run) -> str:
    """Source of a Python file with one space, `space`: the run's own, wider where the best trials lie on an edge.

    Ranges in which everything failed are left out.

    Raises:
        ValueError: the run had no space, as those of study.baseline.
    """
    if run.study["space"] is None:
        raise ValueError(f"{run.path} searched no space")
    found = moves(run)
    header = _comment(f"The space {run.study['space']} after the run {run.name} of {count(len(run.trials), 'trial')}.")
    if not found:
        header += "\n" + _comment("Its trials ask for no range to be moved, so this is the same space.")
    lines = []
    for hyperparameter in dict.fromkeys(move.hyperparameter for move in found):
        of_hyperparameter = [move for move in found if move.hyperparameter == hyperparameter]
        lines += [textwrap.indent(_comment(move.evidence), "    ") for move in of_hyperparameter]
        lines.append(f"    {hyperparameter!r}: ({of_hyperparameter[0].before!r}, {folded(of_hyperparameter)!r}),")
    moved = "{\n" + "\n".join(lines) + "\n}" if lines else "{}"
    return _SOURCE.format(header=header, space=str(run.study["space"]), moved=moved)


def _comment(text: str) -> str:
    """Comment lines. Text from a run directory cannot end them: textwrap makes every line break a space first."""
    return "\n".join(f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 110))
