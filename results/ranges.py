"""Which ranges of a study's space its trials ask to move: beyond an edge where the best are, away from where all fail.

    for move in moves(run):
        print(move.hyperparameter, move.before, "->", move.after, move.evidence)

A hyperparameter whose range depends on another one is judged in the smallest range that holds all of its ranges.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from results.analysis import leaderboard
from results.formatting import word
from results.run import Run

# The best lies on an edge in the outermost tenth of a range, if the other leaders are in its outermost quarter.
EDGE, NEAR = 0.1, 0.25
# How often leaders may agree by chance in any hyperparameter: generous, as a needless widening costs little.
CHANCE = 0.1
# How often any range of the study may be blamed for failures by chance, over all its hyperparameters.
SIGNIFICANCE = 0.05
FEWEST = 3
# A Recipe takes no other values, so that there is nothing beyond the edge.
CLOSED = frozenset({"kernel"})


@dataclass(frozen=True)
class Move:
    """One range that should move.

    Attributes:
        hyperparameter: the Recipe field.
        kind: "edge": the best are at an end of the range; "failed": all trials in a part of it diverged or failed.
        before, after: (low, high) of numbers, or all the choices.
        evidence, suggestion: a sentence each.
    """

    hyperparameter: str
    kind: Literal["edge", "failed"]
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    evidence: str
    suggestion: str


@dataclass(frozen=True)
class _Numbers:
    """The range of a numeric hyperparameter. Positions are shares of it, on its own scale: 0 is low, 1 is high."""

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    def position(self, value: float) -> float:
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, position: float) -> float:
        """The value at a position, which may lie outside; three digits of it, or the nearest step."""
        if self.log:
            value = float(self.low * (self.high / self.low) ** position)
        else:
            value = self.low + (self.high - self.low) * position
        if self.step and not self.log:
            value = self.low + round((value - self.low) / self.step) * self.step
        return round(value) if self.whole else float(f"{value:.3g}")

    def beyond(self, side: int) -> float:
        """A third of the range beyond its low (0) or high (1) end, as far as such a quantity goes."""
        value = self.at(4 / 3 if side else -1 / 3)
        if self.step and not self.log and value in (self.low, self.high):
            value += self.step if side else -self.step
        if not side:
            return max(value, 0) if self.low >= 0 else value
        # What lies between 0 and 1 is taken for a share, which cannot pass 1.
        return float(f"{min(value, (1 + self.high) / 2):.3g}") if self.high <= 1 and not self.whole else value


def moves(run: Run) -> list[Move]:
    """The moves that the run's trials ask for, failures first, each in the order of the hyperparameters."""
    failed = [move for name in run.hyperparameters for move in _away_from_failures(run, name)]
    blamed = {(move.hyperparameter, _side(move)) for move in failed if _side(move) is not None}
    edges = [] if _is_tied(run) else [move for name in run.hyperparameters for move in _beyond_the_edge(run, name)]
    return failed + [move for move in edges if (move.hyperparameter, _side(move)) not in blamed]


def folded(moves_of_hyperparameter: list[Move]) -> tuple[Any, ...]:
    """The range or the choices after all moves of one hyperparameter of numbers, or one of choices."""
    before, now = moves_of_hyperparameter[0].before, moves_of_hyperparameter[0].after
    for move in moves_of_hyperparameter[1:]:
        if len(before) == 2 and _side(move) is not None:
            changed = [new if new != old else kept for old, new, kept in zip(before, move.after, now, strict=True)]
            now = tuple(changed)
        else:
            now = tuple(choice for choice in move.after if choice in now or choice not in before)
    return now


def _side(move: Move) -> int | None:
    """The end of a range of numbers that moves, 0 or 1; None for choices."""
    if len(move.before) != len(move.after) or move.before == move.after:
        return None
    return 1 if move.before[0] == move.after[0] else 0


def _numbers(about: dict[str, Any]) -> _Numbers | None:
    """The range of a hyperparameter, from Optuna's JSON of its distribution; None where it has choices."""
    ends = about["attributes"]
    if "choices" in ends:
        return None
    return _Numbers(ends["low"], ends["high"], ends["log"], ends["step"], about["name"] == "IntDistribution")


def _away_from_failures(run: Run, name: str) -> Iterator[Move]:
    """Ends of the range, or choices, of which at least three trials all diverged or failed, and not by chance."""
    column = f"config/{name}"
    ended = run.trials[run.trials["ended"].notna()].dropna(subset=column)
    bad = ended["status"].isin(["diverged", "failed"])
    limit = SIGNIFICANCE / (2 * len(run.hyperparameters))
    numbers = _numbers(run.hyperparameters[name])
    if numbers is None:
        yield from _failed_choices(run.hyperparameters[name]["attributes"]["choices"], name, ended[column], bad, limit)
        return
    drawn = pd.to_numeric(ended[column], errors="coerce")  # of a damaged log, a value may be none of the range
    inside = drawn.between(numbers.low, numbers.high)
    values, bad = drawn[inside], bad[inside]
    if bad.all():
        return
    for side in (1, 0):
        first_good = values[~bad].max() if side else values[~bad].min()
        beyond = values[values > first_good] if side else values[values < first_good]
        if len(beyond) < FEWEST or _by_chance(len(beyond), bad) >= limit:
            continue
        last_bad = beyond.min() if side else beyond.max()
        between = numbers.at((numbers.position(last_bad) + numbers.position(first_good)) / 2)
        edge = first_good.item() if numbers.step else between
        evidence = f"All {len(beyond)} trials with {name} {'above' if side else 'below'} {word(first_good)} "
        old = (numbers.low, numbers.high)[side]
        suggestion = f"Let {name} {'end' if side else 'begin'} at {word(edge)} instead of {word(old)}."
        after = (numbers.low, edge) if side else (edge, numbers.high)
        yield Move(name, "failed", (numbers.low, numbers.high), after, evidence + "diverged or failed.", suggestion)


def _failed_choices(
    choices: list[Any], name: str, values: "pd.Series[Any]", bad: "pd.Series[bool]", limit: float
) -> Iterator[Move]:
    for choice in choices:
        chosen = bad[values == choice]
        if len(chosen) >= FEWEST and chosen.all() and _by_chance(len(chosen), bad) < limit:
            evidence = f"All {len(chosen)} trials with {name} {word(choice)} diverged or failed."
            after = tuple(other for other in choices if other != choice)
            yield Move(
                name,
                "failed",
                tuple(choices),
                after,
                evidence,
                f"Leave {word(choice)} out of {name}.",
            )


def _by_chance(count: int, bad: "pd.Series[bool]") -> float:
    """The probability that `count` trials taken at random are all bad ones (hypergeometric)."""
    return math.comb(int(bad.sum()), count) / math.comb(len(bad), count)


def leaders(run: Run) -> pd.DataFrame:
    """The best fifth of the leaderboard, at least three trials of it."""
    ranked = leaderboard(run)
    return ranked.head(max(FEWEST, math.ceil(len(ranked) / 5)))


def _is_tied(run: Run) -> bool:
    """Whether the best trial is no better than one that is no leader: the order of the leaders is that of numbers."""
    values = leaderboard(run)[run.metric.column]
    return len(values) > (led := len(leaders(run))) and bool(values.iloc[0] == values.iloc[led])


def _beyond_the_edge(run: Run, name: str) -> Iterator[Move]:
    """The end of the range, or the outermost choice, at which the best trial and too many other leaders are."""
    column = f"config/{name}"
    leading = leaders(run).dropna(subset=column)
    if len(leading) < FEWEST or leading.index[0] != leaderboard(run).index[0] or name in CLOSED:
        return
    values = leading[column].tolist()
    numbers = _numbers(run.hyperparameters[name])
    if numbers is None:
        yield from _beyond_choices(run, name, values, leading.index[0])
        return
    chance = CHANCE / len(run.hyperparameters)
    drawn = pd.to_numeric(leading[column], errors="coerce")
    positions = [numbers.position(value) if numbers.low <= value <= numbers.high else math.nan for value in drawn]
    for side in (0, 1):
        distances = [1 - position if side else position for position in positions]
        near = sum(distance <= NEAR for distance in distances)
        if not distances[0] <= EDGE or _agreement_by_chance(near, len(values), NEAR) > chance:
            continue
        old, new = (numbers.low, numbers.high)[side], numbers.beyond(side)
        if new == old:
            continue
        edge = f"the {'upper' if side else 'lower'} edge of its range ({word(numbers.low)} to {word(numbers.high)})"
        evidence = (
            f"The best trial, {leading.index[0]}, has {name} {word(values[0])}, at {edge}; "
            f"{near} of the {len(values)} best are in the quarter next to it."
        )
        after = (numbers.low, new) if side else (new, numbers.high)
        suggestion = f"Move that edge of {name} from {word(old)} to {word(new)}."
        yield Move(name, "edge", (numbers.low, numbers.high), after, evidence, suggestion)


def _beyond_choices(run: Run, name: str, values: list[Any], best: Any) -> Iterator[Move]:
    choices, chance = tuple(run.hyperparameters[name]["attributes"]["choices"]), CHANCE / len(run.hyperparameters)
    sizes = [_size(choice) for choice in choices]
    if None in sizes or len(choices) < 2:
        return
    ordered = sorted(choices, key=_size)
    agreeing = values.count(values[0])
    if values[0] not in (ordered[0], ordered[-1]):
        return
    if _agreement_by_chance(agreeing, len(values), 1 / len(choices)) > chance:
        return
    largest = values[0] == ordered[-1]
    new = _doubled(values[0]) if largest else _halved(values[0])
    if new is None or new in choices:
        return
    evidence = (
        f"The best trial, {best}, has {name} {word(values[0])}, the {'largest' if largest else 'smallest'} of "
        f"{', '.join(map(word, choices))}; so have {agreeing} of the {len(values)} best."
    )
    after = (*choices, new) if largest else (new, *choices)
    yield Move(name, "edge", choices, after, evidence, f"Add {word(new)} to the choices of {name}.")


def _agreement_by_chance(count: int, of: int, share: float) -> float:
    """The probability that at least `count` of `of` leaders are in a given `share` of a range (binomial)."""
    from scipy.special import bdtrc

    return float(bdtrc(count - 1, of, share)) if count else 1.0


def _size(choice: Any) -> Any:
    """What orders choices: a number itself, the sum of widths such as "16-32"; None for what has no order."""
    if isinstance(choice, str) and re.fullmatch(r"\d+(-\d+)*", choice):
        return sum(map(int, choice.split("-")))
    return choice if isinstance(choice, int | float) and not isinstance(choice, bool) else None


def _doubled(choice: Any) -> Any:
    """Twice the number or the widths; a share between 0 and 1 goes half of its way to 1; None where there is no way."""
    if isinstance(choice, str):
        return "-".join(str(2 * int(width)) for width in choice.split("-"))
    if isinstance(choice, float) and choice <= 1:
        return float(f"{(1 + choice) / 2:.4g}") if choice < 1 else None
    return 2 * choice


def _halved(choice: Any) -> Any:
    """Half the number or the widths; None where that is nothing."""
    if isinstance(choice, str):
        widths = [int(width) // 2 for width in choice.split("-")]
        return "-".join(map(str, widths)) if min(widths) else None
    half = choice // 2 if isinstance(choice, int) else float(f"{choice / 2:.4g}")
    return half or None
