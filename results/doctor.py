"""What is wrong with a study, or not yet right: findings with their evidence and one suggestion each.

    for finding in diagnose(load_run("runs/my-study")):
        print(finding.evidence, finding.suggestion)

Each check is a function from a Run to its findings. Where a threshold is a choice and not a test, it is named.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd

from results.analysis import ENOUGH_TRIALS_EACH, leaderboard, rank_correlation
from results.formatting import count
from results.metric import ACCURACY
from results.ranges import leaders, moves
from results.run import Run
from results.seed_deviation import pooled, published
from results.significance import Z95

Severity = Literal["serious", "notable", "minor"]
OVERFIT = 0.75  # of the validation loss: a training loss below this share of it
MOST = 2 / 3  # of the leaders must show what is said of them
PREDICTIVE = 0.5  # a rank correlation below it ranks the leaders hardly better than chance
FEWEST_FOR_RANKS = 5
FEW_VALIDATION_IMAGES = 2_000  # of which an accuracy of 70% has a standard error of more than one point
MOST_FOLDS = 5
IMBALANCED = 3  # times as many images in the largest class as in the smallest
MISLEADING = 0.05  # by so much accuracy is above balanced accuracy
ALPHA = 0.05
# A final training has failed where its training loss is so many times that of the search, and larger by so many nats.
FAILED_TIMES, FAILED_BY = 1.5, 0.2


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
        best = run.metric.text(ranked[run.metric.column].iloc[0])
        start = "the baseline itself" if run.base == run.baseline else "the recipe that the study began with"
        evidence = f"Trial 0, {start}, has the best {run.metric.words}, {best}."
        yield Finding(name, "serious", evidence, "Search more `--samples`, or another `--space`.")


def _failed_final(run: Run) -> Iterator[Finding]:
    for role, number in _searched(run).items():
        failed = _failed_seeds(run, role, number)
        if failed.empty:
            continue
        seeds = len(run.final[role]["seeds"]) if run.final is not None else 0
        ends = ", ".join(f"{loss:.3f} (seed {seed})" for seed, loss in failed.items())
        which = f"The {role}'s final training"
        if seeds > 1:
            which = f"{len(failed)} of the {role}'s {seeds} final trainings"
        evidence = (
            f"{which} did not learn: the training loss ended at {ends}, against "
            f"{run.trials['train_loss'][number]:.3f} of trial {number} in the search, after "
            f"{count(int(run.trials['epochs'][number]), 'epoch')}."
        )
        suggestion = (
            "The verdict compares a training that was lost. Train both from more seeds: `--final-seeds "
            f"{max(3, seeds + 2)}`; if that happens again, lower `lr` or allow a longer `warmup`."
        )
        yield Finding("a final training failed", "serious", evidence, suggestion)


def _searched(run: Run) -> dict[str, int]:
    """The trials of the search whose recipes the final trained again, by role, where it had at least their epochs."""
    ranked = leaderboard(run)
    if run.final is None or "winner" not in run.final or ranked.empty:
        return {}
    numbers = {"winner": int(ranked.index[0] if run.best is None else run.best["trial"])}
    if run.base == run.baseline:
        numbers["baseline"] = 0
    return {
        role: number
        for role, number in numbers.items()
        if number in ranked.index and run.trials["epochs"][number] <= run.final["final_epochs"]
    }


def _failed_seeds(run: Run, role: str, number: int) -> "pd.Series[float]":
    """The training losses, by seed, of the final trainings that ended far above the trial `number` of the search.

    Both have the same recipe, and the final at least as many epochs, so that only the seed and the validation images,
    which it trains on as well, make a difference.
    """
    if run.final_epochs.empty:
        return pd.Series(dtype="float64")
    before = float(run.trials["train_loss"][number])
    ends = run.final_epochs[run.final_epochs["role"] == role].groupby("seed", sort=False)["train_loss"].last()
    return ends[ends > max(FAILED_TIMES * before, before + FAILED_BY)]


def _validation_test_gap(run: Run) -> Iterator[Finding]:
    """Validation above test by more than chance, where the final trained at least as long and on more images.

    The winner's validation accuracy is the largest of many, lucky in its images and its seed: what chance explains of
    it is what it explains of the largest of as many draws (Bonferroni).
    """
    number, ranked = _searched(run).get("winner"), leaderboard(run)
    if run.final is None or number is None or run.metric != ACCURACY:
        return
    if run.final["winner"]["seeds"][0]["seed"] in _failed_seeds(run, "winner", number):
        return  # which explains it
    validated, tested = float(ranked["val_accuracy"][number]), float(run.final["winner"]["accuracy"])
    n_validation, n_test = run.study["data"]["validation"], run.final["winner"]["n"]
    z_best = NormalDist().inv_cdf(1 - ALPHA / 2 / len(ranked))
    seeds = _seed_deviation(run)
    chance = math.hypot(
        z_best * math.hypot(_standard_error(validated, n_validation), seeds),
        Z95 * math.hypot(_standard_error(tested, n_test), seeds),
    )
    if validated - tested > chance:
        evidence = (
            f"The winner has {validated:.2%} on the {n_validation:,} validation images, but {tested:.2%} on the "
            f"{n_test:,} test images: {100 * (validated - tested):.2f} points less, where the best of "
            f"{count(len(ranked), 'trial')}, images and seeds explain {100 * chance:.2f}."
        )
        suggestion = (
            "Quote the test accuracy only, and look for validation images that are also in training: "
            "`python -m study.data`."
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
    if run.metric != ACCURACY:
        return
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
                f"the order at rung {rung} hardly predicts that at epoch {row['against']:.0f} (rank correlation "
                f"{row['spearman']:.2f} over {row['trials']:.0f} trials)"
            )
        if said:
            evidence = "; ".join(said)
            longer = f"Raise `--grace-period` to {min(3 * int(str(rung)), run.study['max_epochs'])}"
            gentler = ", or lower `--reduction-factor`" if run.study["reduction_factor"] > 2 else ""
            suggestion = f"{longer}{gentler}."
            yield Finding("stopped on noise", "notable", evidence[0].upper() + evidence[1:] + ".", suggestion)
            return


def _leaders_alike(run: Run) -> Iterator[Finding]:
    """The two best completed trials, against what images and seeds alone make of two equal ones.

    Two accuracies p on the same n images differ by chance with a standard error of at most sqrt(2 p (1 - p) / n); less
    where the networks err on the same images. Finalists have been trained again from other seeds to tell them apart.
    """
    ranked = leaderboard(run)
    ranked = ranked[ranked["status"] == "completed"]
    if len(ranked) < 2 or run.metric != ACCURACY or len(run.finalist_epochs):
        return
    first, second = (float(value) for value in ranked["val_accuracy"].iloc[:2])
    n = run.study["data"]["validation"]
    chance = Z95 * math.sqrt(2) * math.hypot(_standard_error(first, n), _seed_deviation(run))
    if first - second < chance:
        alike = int((ranked["val_accuracy"] > first - chance).sum())
        evidence = (
            f"Trials {ranked.index[0]} and {ranked.index[1]} are {100 * (first - second):.2f} points apart; of two "
            f"equal ones, {n:,} validation images and other seeds make up to {100 * chance:.2f} in 95% of cases. "
            f"{count(alike, 'completed trial')} in all lie so close to the best."
        )
        again = f"`--finalists {min(alike, 5)}`"
        if n < FEW_VALIDATION_IMAGES:
            again = f"on {MOST_FOLDS} folds, which validate on all training images: {again[:-1]} --folds {MOST_FOLDS}`"
        suggestion = f"Treat them as equal and choose by cost, or train them again: {again}."
        yield Finding("leaders within noise", "notable", evidence, suggestion)


def _seed_deviation(run: Run) -> float:
    """The standard deviation of accuracy between seeds, from earlier runs of this data set and family; 0 if unknown."""
    known = pooled(published(), str(run.study["dataset"]), str(run.base.get("model")))
    return 0.0 if known is None else known.deviation


def _too_few_trials(run: Run) -> Iterator[Finding]:
    usable, hyperparameters = len(leaderboard(run)), len(run.hyperparameters)
    # A search that has not ended will have more.
    expected = usable if run.final is not None or run.status == "finished" else max(usable, run.study["samples"])
    if len(run.trials) and expected < ENOUGH_TRIALS_EACH * hyperparameters:
        evidence = (
            f"{count(usable, 'usable trial')} for {count(hyperparameters, 'hyperparameter')}; {ENOUGH_TRIALS_EACH} for "
            "each are recommended."
        )
        suggestion = f"`--samples {ENOUGH_TRIALS_EACH * hyperparameters}`, or a `--space` with fewer hyperparameters."
        yield Finding("too few trials", "notable", evidence, suggestion)


def _still_improving(run: Run) -> Iterator[Finding]:
    """Most completed leaders are best at their last epoch, and gained more in the last quarter than chance explains."""
    if run.metric != ACCURACY:
        return
    curves = {number: _accuracies(run, number) for number in _completed_leaders(run).index}
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
            f"{len(improving)} of the {len(gains)} completed leaders are best at their last epoch and gained "
            f"{100 * gain:.1f} points in the last {quarter}."
        )
        yield Finding("still improving", "notable", evidence, f"`--max-epochs {2 * run.study['max_epochs']}`.")


def _overfitting(run: Run) -> Iterator[Finding]:
    leading = _completed_leaders(run)
    share = leading["train_loss"] / leading["val_loss"]
    over = leading[share < OVERFIT]
    if len(leading) and len(over) >= MOST * len(leading):
        evidence = (
            f"{len(over)} of the {len(leading)} completed leaders end with a training loss far below the validation "
            f"loss, on average {over['train_loss'].mean():.3f} against {over['val_loss'].mean():.3f}."
        )
        suggestion = "Regularise more: augmentation first (flip, translate, cutout), then weight_decay and dropout."
        yield Finding("over-fitting", "notable", evidence, suggestion)


def _underfitting(run: Run) -> Iterator[Finding]:
    """Judged only where the training loss is the plain loss of the plain images, as the validation loss is."""
    leading = _completed_leaders(run)
    plain = [number for number in leading.index if _trains_as_it_validates({**run.base, **run.config(int(number))})]
    under = leading.loc[plain][leading.loc[plain, "train_loss"] >= leading.loc[plain, "val_loss"]]
    if plain and len(under) >= MOST * len(leading):
        evidence = (
            f"{len(under)} of the {len(leading)} completed leaders fit the images they train on no better than "
            f"others: a training loss of {under['train_loss'].mean():.3f} against {under['val_loss'].mean():.3f}."
        )
        suggestion = "Allow wider networks or more epochs, or a larger lr; regularisation is not what is missing."
        yield Finding("under-fitting", "notable", evidence, suggestion)


def _trains_as_it_validates(recipe: dict[str, object]) -> bool:
    softening = ("dropout", "label_smoothing", "translate", "cutout", "jitter", "mixup", "cutmix")
    return not any(recipe.get(name) for name in softening) and recipe.get("flip", "none") in ("none", False)


def _imbalanced(run: Run) -> Iterator[Finding]:
    """Accuracy, which counts images, selects, and one class has several times the images of another, or the winner is
    much better on images than on classes."""
    if run.metric != ACCURACY:
        return
    evidence = [*_unequal_classes(run), *_worse_on_classes(run)]
    if evidence:
        suggestion = "Select by `--metric balanced_accuracy`, and let the space draw class_weights."
        yield Finding("imbalanced classes", "notable", " ".join(evidence), suggestion)


def _unequal_classes(run: Run) -> Iterator[str]:
    sizes = list((run.data or {}).get("counts", {}).get("training", {}).values())
    if len(sizes) > 1 and max(sizes) >= IMBALANCED * max(min(sizes), 1):
        yield (
            f"The largest class has {max(sizes):,} training images and the smallest {min(sizes):,}: a network that "
            f"always says the largest has {max(sizes) / sum(sizes):.0%} accuracy."
        )


def _worse_on_classes(run: Run) -> Iterator[str]:
    metrics = (run.final or {}).get("winner", {}).get("metrics", {})
    accuracy, balanced = metrics.get("accuracy"), metrics.get("balanced_accuracy")
    if isinstance(accuracy, float) and isinstance(balanced, float) and accuracy - balanced > MISLEADING:
        yield (
            f"The winner has {accuracy:.1%} accuracy on the test images, but {balanced:.1%} on the average over "
            "classes (balanced accuracy): it is worse on the rare ones."
        )


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
    suggestion = "They differ by seed noise only: expect the same noise in every other trial, or widen the space."
    yield Finding("duplicates", "minor", evidence, suggestion)


def _completed_leaders(run: Run) -> pd.DataFrame:
    """None where it is only one: what a single training shows is no habit of the leaders."""
    leading = leaders(run)
    completed = leading[leading["status"] == "completed"]
    return completed if len(completed) > 1 else completed.head(0)


def _accuracies(run: Run, number: object) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Validation accuracies of one trial, epoch by epoch."""
    return run.epochs.loc[run.epochs["number"] == number, "val_accuracy"].to_numpy("float64")


def _standard_error(share: float, n: int) -> float:
    return math.sqrt(share * (1 - share) / max(n, 1))


# Within one severity, findings stand in this order.
_CHECKS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    _winner_no_better,
    _failed_final,
    _validation_test_gap,
    _failed_ranges,
    _edges,
    _cut_on_noise,
    _leaders_alike,
    _too_few_trials,
    _still_improving,
    _overfitting,
    _underfitting,
    _imbalanced,
    _duplicates,
)
