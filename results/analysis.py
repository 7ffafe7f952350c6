"""Questions that a study's tables answer, as pure functions on them. See docs/run-directory.md for the columns."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from results import significance as statistics

if TYPE_CHECKING:
    from results.tables import Run


def leaderboard(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials table, best first: by val_accuracy at the last epoch, ties to the earlier trial.

    Trials without a finished epoch, and those that diverged or failed, are left out.
    """
    usable = trials[trials["val_accuracy"].notna() & ~trials["status"].isin(["diverged", "failed"])]
    return usable.sort_values("val_accuracy", ascending=False, kind="stable")


def best(trials: pd.DataFrame) -> pd.Series:
    """The winner's row of the trials table; its name is the trial's number.

    Raises:
        ValueError: no trial has a finished epoch.
    """
    ranked = leaderboard(trials)
    if ranked.empty:
        raise ValueError("no trial has finished an epoch without diverging or failing")
    return ranked.iloc[0]


def epochs_saved(trials: pd.DataFrame, max_epochs: int) -> float:
    """The share of the epochs that early stopping saved, against training every trial for `max_epochs`."""
    return 1 - float(trials["epochs"].sum()) / (max_epochs * len(trials)) if len(trials) else 0.0


def incumbent(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """The best validation accuracy seen so far, of any trial at any epoch, against what had been spent by then.

    Returns:
        RangeIndex, one row per epoch of any trial in the order of time. Columns `epochs_spent` (int64, of all trials
        together, from 1), `seconds` (since the first trial began), `number` (int64, the trial that holds the best),
        `training_iteration` (int64, its epoch, from 1), `val_accuracy` (fraction). Empty without a measured epoch.
    """
    measured = epochs.dropna(subset="val_accuracy").sort_values("time", kind="stable", ignore_index=True)
    best = measured["val_accuracy"].cummax()
    rises = measured["val_accuracy"] > best.shift(fill_value=-math.inf)
    holders = measured[["number", "training_iteration"]].where(rises).ffill().astype("int64")
    seconds = measured["time"] - trials["started"].min()
    spent = pd.DataFrame({"epochs_spent": measured.index.astype("int64") + 1, "seconds": seconds})
    return spent.join(holders).assign(val_accuracy=best)


def effects(trials: pd.DataFrame, knob: str, bins: int = 4) -> pd.DataFrame:
    """What became of the trials, by the value of one knob, whatever the others were.

    Accuracies are of whole trials only: those that were stopped early were measured after fewer epochs. Where ASHA has
    left few whole ones, `effects(run.at_epoch(1).trials, knob)` compares all of them, early on. Few trials in a row,
    or a searcher that drew a value mostly beside other good ones, make a difference between rows that the knob does
    not.

    Args:
        knob: a Recipe field that the space drew.
        bins: numbers with more values than this are put into as many bins of about equal counts, with edges of three
            digits.

    Returns:
        Index `knob`'s values, or intervals of them closed on the left, ascending. Columns `trials`, `completed`,
        `stopped`, `failed` (diverged or failed) (int64), `median`, `best` (fractions, of completed trials; NaN where
        there is none).

    Raises:
        KeyError: no trial has drawn `knob`.
    """
    column = f"config/{knob}"
    if column not in trials:
        raise KeyError(f"no trial has drawn {knob!r}")
    drawn = trials.dropna(subset=column)
    values: Any = drawn[column]
    if pd.api.types.is_bool_dtype(values):
        values = values.astype("bool")
    elif pd.api.types.is_numeric_dtype(values) and values.nunique() > bins:
        values = pd.cut(values.astype("float64"), _edges(values.astype("float64"), bins), right=False)
    accuracy = drawn["val_accuracy"].where(drawn["status"] == "completed")
    table = pd.DataFrame(
        {
            "trials": 1,
            "completed": drawn["status"] == "completed",
            "stopped": drawn["status"] == "stopped",
            "failed": drawn["status"].isin(["diverged", "failed"]),
            "median": accuracy,
            "best": accuracy,
        }
    )
    how = {"trials": "sum", "completed": "sum", "stopped": "sum", "failed": "sum", "median": "median", "best": "max"}
    return table.groupby(values.rename(knob), observed=True).agg(how)


def _edges(values: "pd.Series[float]", bins: int) -> list[float]:
    """Edges of bins of about equal counts, ascending: quantiles to three digits, the outermost beyond all values."""
    edges = [_to_three_digits(edge, round) for edge in values.quantile([at / bins for at in range(1, bins)])]
    lowest, highest = float(values.min()), float(values.max())
    above = math.nextafter(highest, math.inf)  # the last bin, open on the right, holds the highest value as well
    return sorted({_to_three_digits(lowest, math.floor), *edges, _to_three_digits(above, math.ceil)})


def _to_three_digits(value: float, whole: Callable[[float], int]) -> float:
    """`value` to three significant digits, rounded by `whole`."""
    if value == 0:
        return 0.0
    digits = 2 - math.floor(math.log10(abs(value)))
    return float(f"{whole(value * 10**digits) * 10.0**-digits:.3g}")


def rank_correlation(run: "Run") -> pd.DataFrame:
    """Do early rungs predict the end? Among whole trials, and for the winner among all that reached the rung.

    Whole trials have survived every rung, so that the correlation is of a selection and lower than it would be over
    all trials.

    Returns:
        Index `rung` (epochs, ascending, below max_epochs). Columns `trials` (int64, whole ones), `spearman` (of
        val_accuracy at the rung and at the end; NaN below 3 trials), `winner_rank` (Int64, from 1, missing if the
        winner has not reached it), `of` (int64, trials that reached it), `winner_cut` (boolean: the winner's accuracy
        there is below the quantile 1 - 1/reduction_factor of all, so that ASHA would not have promoted it, had it
        seen all first).
    """
    table = run.epochs.pivot(index="number", columns="training_iteration", values="val_accuracy")
    whole = run.trials.index[run.trials["status"] == "completed"]
    ranked = leaderboard(run.trials)
    rows = []
    for rung in run.study["rungs"]:
        if rung >= run.study["max_epochs"] or rung not in table:
            continue
        there = table[rung].dropna()
        both = pd.DataFrame({"there": there, "end": run.trials["val_accuracy"]}).loc[there.index.intersection(whole)]
        # Spearman's rho is Pearson's r of the ranks; a constant has no ranks to compare.
        comparable = len(both) >= 3 and (both.nunique() > 1).all()
        at_rung = there.get(ranked.index[0]) if len(ranked) else None
        cutoff = there.quantile(1 - 1 / run.study["reduction_factor"])
        rows.append(
            {
                "rung": rung,
                "trials": len(both),
                "spearman": both["there"].rank().corr(both["end"].rank()) if comparable else math.nan,
                "winner_rank": pd.NA if at_rung is None else int((there > at_rung).sum()) + 1,
                "of": len(there),
                "winner_cut": pd.NA if at_rung is None else bool(at_rung < cutoff),
            }
        )
    dtypes = {"trials": "int64", "spearman": "float64", "winner_rank": "Int64", "of": "int64", "winner_cut": "boolean"}
    return pd.DataFrame(rows, columns=["rung", *dtypes]).astype({"rung": "int64", **dtypes}).set_index("rung")


FEWEST_FOR_IMPORTANCE = 4
ENOUGH_TRIALS_A_KNOB = 5


def comparable(run: "Run") -> "Run":
    """The run itself, where it has about five whole trials a knob; else as it stood at the rung that most trials
    reached, the longest of those."""
    whole = int((run.trials["status"] == "completed").sum())
    if whole >= ENOUGH_TRIALS_A_KNOB * len(run.knobs) or not run.study["rungs"]:
        return run
    lengths = sorted({*run.study["rungs"], run.study["max_epochs"]})
    return run.at_epoch(max(lengths, key=lambda length: (int((run.trials["epochs"] >= length).sum()), length)))


def importance(run: "Run") -> pd.DataFrame:
    """How much of the differences in validation accuracy each knob explains, by Optuna, over the whole trials.

    Trials that were stopped early are left out, as their accuracies are of other epochs; `importance(comparable(run))`
    has more of them, after fewer epochs. With fewer than about five whole trials a knob the shares are noise:
    `attrs["trials"]` says how many there were, and `attrs["warning"]` (str or None) says so in words.

    Returns:
        Index knob, the most important first. Columns `fanova` (Hutter et al. 2014) and `ped_anova` (Watanabe et al.
        2023, arXiv:2304.10255), shares that sum to 1.

    Raises:
        ValueError: fewer than 4 whole trials.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    whole = int((run.trials["status"] == "completed").sum())
    if whole < FEWEST_FOR_IMPORTANCE:
        raise ValueError(f"whole trials are too few to tell which knobs matter: {whole}, where 4 are the least")
    study = run.to_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluators = {"fanova": FanovaImportanceEvaluator(seed=0), "ped_anova": PedAnovaImportanceEvaluator()}
    shares = {name: get_param_importances(study, evaluator=each) for name, each in evaluators.items()}
    table = pd.DataFrame(shares).fillna(0.0).sort_values("fanova", ascending=False)
    table.index.name = "knob"
    table.attrs["trials"] = whole
    few = whole < ENOUGH_TRIALS_A_KNOB * len(table)
    table.attrs["warning"] = (
        f"{whole} whole trials for {len(table)} knobs: these shares are mostly noise" if few else None
    )
    return table


def compare(runs: Sequence["Run"]) -> pd.DataFrame:
    """Runs side by side, each against the first.

    Validation accuracies may be compared where `same_split` holds, and `max_epochs` and trials are alike. Test
    accuracies are of the winner (of a baseline run: of its recipe), first seed, each on the same images; the paired
    test speaks of those trained models, not of the searches that found them.

    Returns:
        Index `run` (str, the path). Columns `space`, `dataset`, `status` (str), `same_data`, `same_split`,
        `same_space` (bool, as the first run's), `trials`, `epochs` (int64), `max_epochs` (Int64), `val_accuracy`
        (fraction, of the best trial), `test_accuracy` (fraction), `difference` (fractions, from the first run's test
        accuracy), `only_this`, `only_first` (Int64, test images that one alone gets right), `p_value` (McNemar)
        and `verdict` ("better", "worse", "no evidence"; missing for the first run, and where one of the two has no
        predictions or they are of other images).

    Raises:
        ValueError: fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError("it takes two runs to compare")
    first = runs[0]
    rows = []
    for run in runs:
        ranked = leaderboard(run.trials)
        rows.append(
            {
                "run": str(run.path),
                "space": run.study["space"],
                "dataset": run.study["dataset"],
                "status": run.study["status"],
                "same_data": run.study["data"]["digest"] == first.study["data"]["digest"],
                "same_split": run.study["data"]["split_digest"] == first.study["data"]["split_digest"],
                "same_space": run.study["knobs"] == first.study["knobs"],
                "trials": len(run.trials),
                "epochs": int(run.trials["epochs"].sum()),
                "max_epochs": run.study.get("max_epochs"),
                "val_accuracy": ranked["val_accuracy"].iloc[0] if len(ranked) else math.nan,
                **_test_comparison(run, first),
            }
        )
    table = pd.DataFrame(rows).set_index("run")
    return table.astype({"max_epochs": "Int64", "only_this": "Int64", "only_first": "Int64", "verdict": "str"})


def _test_comparison(run: "Run", first: "Run") -> dict[str, Any]:
    ours, theirs = _correct(run), _correct(first)
    accuracy = math.nan if ours is None else float(ours.mean())
    found = {"test_accuracy": accuracy, "difference": math.nan, "only_this": pd.NA, "only_first": pd.NA}
    unpaired = {**found, "p_value": math.nan, "verdict": None}
    if run is first or ours is None or theirs is None or not ours.index.equals(theirs.index):
        return unpaired
    test = statistics.mcnemar(ours.to_numpy(), theirs.to_numpy())
    difference = accuracy - float(theirs.mean())
    proven = test.p_value < statistics.SIGNIFICANCE
    return {
        "test_accuracy": accuracy,
        "difference": difference,
        "only_this": test.only_a,
        "only_first": test.only_b,
        "p_value": test.p_value,
        "verdict": "no evidence" if not proven else "better" if difference > 0 else "worse",
    }


def _correct(run: "Run") -> "pd.Series[bool] | None":
    """Whether each test image was classified rightly, by image, label and what the images were."""
    if run.predictions is None:
        return None
    role = "winner" if "winner" in run.predictions else "recipe_under_test"
    if role not in run.predictions:
        return None
    keys = run.predictions[["image", "label"]].assign(data=run.study["data"]["digest"])
    right = run.predictions[role] == run.predictions["label"]
    return right.set_axis(pd.MultiIndex.from_frame(keys))


def confusion(predictions: pd.DataFrame, role: str = "winner") -> pd.DataFrame:
    """What each class was taken for.

    Args:
        role: whose predictions: winner, baseline or recipe_under_test.

    Returns:
        Index `label` and columns `predicted` (classes, 0 to 9); test images (int64).

    Raises:
        KeyError: there are no predictions of `role`.
    """
    classes = range(10)
    counted = pd.crosstab(predictions["label"], predictions[role])
    return counted.reindex(index=classes, columns=classes, fill_value=0).rename_axis(index="label", columns="predicted")


def per_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """The test accuracy on each class.

    Returns:
        Index `label` (classes, 0 to 9). Columns `images` (int64), one fraction per role that has predictions (winner
        and baseline, or recipe_under_test), and `difference` (winner - baseline) where there are both.
    """
    roles = [role for role in ("winner", "baseline", "recipe_under_test") if role in predictions]
    right = predictions[roles].eq(predictions["label"], axis=0)
    by_class = right.groupby(predictions["label"])
    table = by_class.mean()
    table.insert(0, "images", by_class.size())
    if {"winner", "baseline"} <= set(roles):
        table["difference"] = table["winner"] - table["baseline"]
    return table
