"""What is wrong with a study, or not yet right: findings with their evidence and one suggestion each.

    for finding in diagnose(load("runs/my-study")):
        print(finding.evidence, finding.suggestion)

Each check is a function from a Run to its findings. Where a threshold is a choice and not a test, it is named.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from results.analysis import ENOUGH_TRIALS_EACH, leaderboard, rank_correlation
from results.ranges import leaders, moves
from results.run import Run
from results.significance import Z95
from results.words import count

Severity = Literal["serious", "notable", "minor"]
OVERFIT = 0.75  # of the validation loss: a training loss below this share of it
MOST = 2 / 3  # of the leaders must show what is said of them
PREDICTIVE = 0.5  # a rank correlation below it ranks the leaders hardly better than chance
FEWEST_FOR_RANKS = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        name: a few words, the same for every run.
        severity: "serious" puts the result in doubt; "notable" costs accuracy or certainty; "minor" is worth knowing.
        evidence: what in the tables says so.
        suggestion: what to do next.
    """

    name: str
    severity: Severity
    evidence: str
    suggestion: str


def diagnose(run: Run) -> list[Finding]:
    """All findings, the most important first; none where nothing is wrong, or for a run without trials."""
    found = [finding for check in _CHECKS for finding in check(run)]
    return sorted(found, key=lambda finding: ("serious", "notable", "minor").index(finding.severity))


def _winner_no_better(run: Run) -> Iterator[Finding]:
    name = "no better than the baseline"
    if run.final is not None:
        if run.final.get("verdict") in ("worse", "no evidence"):
            seeds = len(run.final["winner"]["seeds"])
            more = f"`--final-seeds {max(5, 2 * seeds)}` would show a smaller difference, "
            yield Finding(name, "serious", str(run.final["sentence"]), f"{more}more `--samples` may find a larger one.")
        return
    ranked = leaderboard(run)
    if len(ranked) > 1 and ranked.index[0] == 0:
        accuracy = ranked["val_accuracy"].iloc[0]
        start = "the baseline itself" if run.base == run.baseline else "the recipe that the study began with"
        evidence = f"Trial 0, {start}, has the best validation accuracy, {accuracy:.2%}."
        yield Finding(name, "serious", evidence, "Search more `--samples`, or another `--space`.")


def _validation_test_gap(run: Run) -> Iterator[Finding]:
    """Validation above test, by more than chance: the final trains on more images, so its test should be higher."""
    ranked = leaderboard(run)
    if run.final is None or "winner" not in run.final or ranked.empty:
        return
    validated, tested = float(ranked["val_accuracy"].iloc[0]), float(run.final["winner"]["accuracy"])
    n_validation, n_test = run.study["data"]["validation"], run.final["winner"]["n"]
    chance = Z95 * math.hypot(_standard_error(validated, n_validation), _standard_error(tested, n_test))
    if validated - tested > chance:
        evidence = (
            f"The winner has {validated:.2%} on the {n_validation:,} validation images, but {tested:.2%} on the "
            f"{n_test:,} test images: {100 * (validated - tested):.2f} points less, where chance explains "
            f"{100 * chance:.2f}."
        )
        suggestion = (
            f"Quote the test accuracy only; the best of {len(ranked)} validation accuracies is partly luck. "
            f"Raise `--max-epochs`, so that the search compares what the final trains."
        )
        yield Finding("validation above test", "serious", evidence, suggestion)


def _failed_ranges(run: Run) -> Iterator[Finding]:
    for move in moves(run):
        if move.kind == "failed":
            yield Finding("a range that fails", "serious", move.evidence, move.suggestion)


def _edges(run: Run) -> Iterator[Finding]:
    for move in moves(run):
        if move.kind == "edge":
            yield Finding("best on an edge", "notable", move.evidence, move.suggestion)


def _cut_on_noise(run: Run) -> Iterator[Finding]:
    """At some rung, the order does not predict the end, or many of the stopped are no worse than what passed."""
    ranks = rank_correlation(run)
    table = run.epochs.pivot(index="number", columns="training_iteration", values="val_accuracy")
    stopped = run.trials.index[run.trials["status"] == "stopped"]
    for rung, row in ranks.iterrows():
        accuracy = table[rung].dropna()
        cutoff = float(accuracy.quantile(1 - 1 / run.study["reduction_factor"]))
        cut = accuracy[accuracy.index.isin(stopped[run.trials["epochs"][stopped] == rung])]
        # Both the trial's accuracy and the cutoff are measured on a sample of images.
        noise = Z95 * math.sqrt(2) * _standard_error(cutoff, run.study["data"]["validation"])
        close = int((cut > cutoff - noise).sum())
        said = []
        if close >= 3 and close > len(cut) / 3:
            said.append(
                f"{close} of the {len(cut)} trials stopped at rung {rung} were within {100 * noise:.1f} points, "
                f"what chance explains, of the {cutoff:.2%} that would have passed"
            )
        if row["trials"] >= FEWEST_FOR_RANKS and row["spearman"] < PREDICTIVE:
            said.append(
                f"the order at rung {rung} hardly predicts the end (rank correlation {row['spearman']:.2f} over "
                f"{row['trials']} whole trials)"
            )
        if said:
            evidence = "; ".join(said)
            longer = f"Raise `--grace-period` to {min(3 * int(str(rung)), run.study['max_epochs'])}"
            gentler = ", or lower `--reduction-factor`" if run.study["reduction_factor"] > 2 else ""
            suggestion = f"{longer}{gentler}."
            yield Finding("stopped on noise", "notable", evidence[0].upper() + evidence[1:] + ".", suggestion)
            return


def _noise_among_leaders(run: Run) -> Iterator[Finding]:
    """Epoch-to-epoch noise of the two best whole trials against the gap between them.

    Noise is the standard deviation left when a straight line through each three epochs in a row is taken off: second
    differences have variance 6 times that of their terms.
    """
    ranked = leaderboard(run)
    ranked = ranked[ranked["status"] == "completed"].head(2)
    if len(ranked) < 2:
        return
    late = max(4, run.study["max_epochs"] // 2)
    curves = [_accuracies(run, number)[-late:] for number in ranked.index]
    if min(map(len, curves)) < 4:
        return
    bends = np.concatenate([np.diff(curve, 2) for curve in curves])
    noise = float(np.sqrt((bends**2).mean() / 6))
    gap = float(ranked["val_accuracy"].iloc[0] - ranked["val_accuracy"].iloc[1])
    if noise >= gap:
        evidence = (
            f"Trials {ranked.index[0]} and {ranked.index[1]} are {100 * gap:.2f} points apart, and from epoch to epoch "
            f"their accuracies move by {100 * noise:.2f}."
        )
        suggestion = (
            "Take the two for equal and choose by cost, or train both over several seeds: "
            "`python -m study.baseline --recipe`."
        )
        yield Finding("leaders within noise", "notable", evidence, suggestion)


def _too_few_trials(run: Run) -> Iterator[Finding]:
    usable, hyperparameters = len(leaderboard(run)), len(run.hyperparameters)
    if len(run.trials) and usable < ENOUGH_TRIALS_EACH * hyperparameters:
        evidence = (
            f"{count(usable, 'usable trial')} for {count(hyperparameters, 'hyperparameter')}; {ENOUGH_TRIALS_EACH} for "
            "each are a fair start."
        )
        suggestion = f"`--samples {ENOUGH_TRIALS_EACH * hyperparameters}`, or a `--space` with fewer hyperparameters."
        yield Finding("too few trials", "notable", evidence, suggestion)


def _still_improving(run: Run) -> Iterator[Finding]:
    """Most whole leaders are best at their last epoch, and gained more in the last quarter than chance explains."""
    curves = {number: _accuracies(run, number) for number in _whole_leaders(run).index}
    quarter = max(2, run.study["max_epochs"] // 4)
    gains = {number: curve[-1] - curve[-1 - quarter] for number, curve in curves.items() if len(curve) > quarter}
    chance = {
        number: Z95 * math.sqrt(2) * _standard_error(curves[number][-1], run.study["data"]["validation"])
        for number in gains
    }
    improving = [n for n, gain in gains.items() if gain > chance[n] and curves[n][-1] == curves[n].max()]
    if gains and len(improving) >= MOST * len(gains):
        gain = float(np.mean([gains[number] for number in improving]))
        evidence = (
            f"{len(improving)} of the {len(gains)} whole leaders are best at their last epoch and gained "
            f"{100 * gain:.1f} points in the last {quarter}."
        )
        yield Finding("still improving", "notable", evidence, f"`--max-epochs {2 * run.study['max_epochs']}`.")


def _overfitting(run: Run) -> Iterator[Finding]:
    leading = _whole_leaders(run)
    share = leading["train_loss"] / leading["val_loss"]
    over = leading[share < OVERFIT]
    if len(leading) and len(over) >= MOST * len(leading):
        evidence = (
            f"{len(over)} of the {len(leading)} whole leaders end with a training loss far below the validation loss, "
            f"on average {over['train_loss'].mean():.3f} against {over['val_loss'].mean():.3f}."
        )
        suggestion = "Regularise more: augmentation first (flip, translate, cutout), then weight_decay and dropout."
        yield Finding("over-fitting", "notable", evidence, suggestion)


def _underfitting(run: Run) -> Iterator[Finding]:
    """Judged only where the training loss is the plain loss of the plain images, as the validation loss is."""
    leading = _whole_leaders(run)
    plain = [number for number in leading.index if _trains_as_it_validates({**run.base, **run.config(int(number))})]
    under = leading.loc[plain][leading.loc[plain, "train_loss"] >= leading.loc[plain, "val_loss"]]
    if plain and len(under) >= MOST * len(leading):
        evidence = (
            f"{len(under)} of the {len(leading)} whole leaders fit the images they train on no better than "
            f"others: a training loss of {under['train_loss'].mean():.3f} against {under['val_loss'].mean():.3f}."
        )
        suggestion = "Allow wider networks or more epochs, or a larger lr; regularisation is not what is missing."
        yield Finding("under-fitting", "notable", evidence, suggestion)


def _trains_as_it_validates(recipe: dict[str, object]) -> bool:
    softening = ("dropout", "label_smoothing", "translate", "cutout", "jitter", "mixup", "cutmix")
    return not any(recipe[name] for name in softening) and recipe["flip"] == "none"


def _duplicates(run: Run) -> Iterator[Finding]:
    configs = [column for column in run.trials.columns if str(column).startswith("config/")]
    if not configs:
        return
    twins = run.trials[run.trials.duplicated(configs, keep=False)]
    if twins.empty:
        return
    groups = [list(group.index) for _, group in twins.groupby(configs, dropna=False)]
    listed = "; ".join(" and ".join(map(str, group)) for group in groups[:3])
    more = f" and {len(groups) - 3} more such groups" if len(groups) > 3 else ""
    evidence = f"Trials {listed}{more} have the same config; only their seeds differ."
    suggestion = "What differs between them is luck: read it as the noise of every other trial, or widen the space."
    yield Finding("duplicates", "minor", evidence, suggestion)


def _whole_leaders(run: Run) -> pd.DataFrame:
    """None where it is only one: what a single training shows is no habit of the leaders."""
    leading = leaders(run)
    whole = leading[leading["status"] == "completed"]
    return whole if len(whole) > 1 else whole.head(0)


def _accuracies(run: Run, number: object) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Validation accuracies of one trial, epoch by epoch."""
    return run.epochs.loc[run.epochs["number"] == number, "val_accuracy"].to_numpy("float64")


def _standard_error(share: float, n: int) -> float:
    return math.sqrt(share * (1 - share) / n)


# Within one severity, findings stand in this order.
_CHECKS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    _winner_no_better,
    _validation_test_gap,
    _failed_ranges,
    _edges,
    _cut_on_noise,
    _noise_among_leaders,
    _too_few_trials,
    _still_improving,
    _overfitting,
    _underfitting,
    _duplicates,
)
