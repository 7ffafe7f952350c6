"""Questions that a run's tables answer, as pure functions of a Run. See docs/run-directory.md for the columns.

Trials are ranked by the run's own metric: accuracy, unless study.json names another.
"""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.formatting import count
from results.run import Run

if TYPE_CHECKING:
    import optuna


def leaderboard(run: Run) -> pd.DataFrame:
    """The trials table, best first: by the run's metric at the last epoch, ties to the earlier trial.

    Trials without a finished epoch, and those that diverged or failed, are left out.
    """
    trials, column = run.trials, run.metric.column
    usable = trials[trials[column].notna() & ~trials["status"].isin(["diverged", "failed"])]
    return usable.sort_values(column, ascending=not run.metric.maximize, kind="stable")


def best(run: Run) -> pd.Series:
    """The winner's row of the trials table; its name is the trial's number.

    Raises:
        ValueError: no trial has a finished epoch.
    """
    ranked = leaderboard(run)
    if ranked.empty:
        raise ValueError("no trial has finished an epoch without diverging or failing")
    return ranked.iloc[0]


def epochs_saved(run: Run) -> float:
    """The share of the epochs that early stopping saved, against training every trial for max_epochs."""
    trials = run.trials
    return 1 - float(trials["epochs"].sum()) / (run.study["max_epochs"] * len(trials)) if len(trials) else 0.0


def incumbent(run: Run) -> pd.DataFrame:
    """The best value of the run's metric seen so far, of any trial at any epoch, against what had been spent by then.

    Returns:
        RangeIndex, one row per epoch of any trial in the order of time. Columns `epochs_spent` (int64, of all trials
        together, from 1), `seconds` (since the first trial began), `number` (int64, the trial that holds the best),
        `training_iteration` (int64, its epoch, from 1), `val_<metric>`. Empty without a measured epoch.
    """
    column = run.metric.column
    measured = run.epochs.dropna(subset=column).sort_values("time", kind="stable", ignore_index=True)
    values = measured[column] if run.metric.maximize else -measured[column]
    best_so_far = values.cummax()
    rises = values > best_so_far.shift(fill_value=-math.inf)
    holders = measured[["number", "training_iteration"]].where(rises).ffill().astype("int64")
    seconds = measured["time"] - run.trials["started"].min()
    spent = pd.DataFrame({"epochs_spent": measured.index.astype("int64") + 1, "seconds": seconds})
    return spent.join(holders).assign(**{column: best_so_far if run.metric.maximize else -best_so_far})


def effects(run: Run, hyperparameter: str, bins: int = 4) -> pd.DataFrame:
    """What became of the trials, by the value of one hyperparameter, whatever the others were.

    Values are of completed trials only: those that were stopped early were measured after fewer epochs. Where ASHA has
    left few completed ones, `effects(run.at_epoch(1), hyperparameter)` compares all of them, early on. With few trials
    in a row, or a sampler that drew a value mostly beside other good ones, rows differ by more than the hyperparameter.

    Args:
        hyperparameter: one that the space drew.
        bins: numbers with more values than this are put into as many bins of about equal counts, with edges of three
            digits.

    Returns:
        Index `hyperparameter`'s values, or intervals of them closed on the left, ascending. Columns `trials`,
        `completed`, `stopped`, `failed` (diverged or failed) (int64), `median`, `best` (of the run's metric, over
        completed trials; NaN where there is none).

    Raises:
        KeyError: no trial has drawn `hyperparameter`.
    """
    column = run.drawn(hyperparameter)
    drawn, values = run.trials[column.notna()], column.dropna()
    if pd.api.types.is_bool_dtype(values):
        values = values.astype("bool")
    elif pd.api.types.is_numeric_dtype(values) and values.nunique() > bins:
        values = pd.cut(values.astype("float64"), _edges(values.astype("float64"), bins), right=False)
    elif not pd.api.types.is_numeric_dtype(values):
        values = values.astype(pd.CategoricalDtype(sorted(values.unique(), key=in_order), ordered=True))
    measured = drawn[run.metric.column].where(drawn["status"] == "completed")
    table = pd.DataFrame(
        {
            "trials": 1,
            "completed": drawn["status"] == "completed",
            "stopped": drawn["status"] == "stopped",
            "failed": drawn["status"].isin(["diverged", "failed"]),
            "median": measured,
            "best": measured,
        }
    )
    best_is = "max" if run.metric.maximize else "min"
    how = dict.fromkeys(("trials", "completed", "stopped", "failed"), "sum") | {"median": "median", "best": best_is}
    return table.groupby(values.rename(hyperparameter), observed=True).agg(how)


def in_order(value: Any) -> tuple[Any, ...]:
    """A sort key of choices: numbers by size, and widths such as "16-32" by their numbers, "8-16" before "32-64"."""
    if isinstance(value, str):
        parts = re.split(r"(\d+)", value)
        return (1, *(int(part) if part.isdecimal() else part for part in parts))
    return (0, value) if isinstance(value, int | float) else (2, str(value))


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


FEWEST_FOR_CORRELATION = 3
ENOUGH_FOR_CORRELATION = 5


def rank_correlation(run: Run) -> pd.DataFrame:
    """Do early rungs predict later ones? Over the trials that reached both, and for the winner over all at the rung.

    Trials that came further have passed every rung before, so the correlation is of a selection and lower than it
    would be over all trials. ASHA often lets only one or two trials reach the end; then a rung is compared with the
    longest later rung that at least five trials reached, or else the next; `against` names it.

    Returns:
        Index `rung` (epochs, ascending, below max_epochs). Columns `against` (int64, the epoch that it is compared
        with), `trials` (int64, those that reached both), `spearman` (of the run's metric; NaN below 3 trials, or where
        all are equal), `winner_rank` (Int64, from 1, missing if the winner has not reached the rung), `of` (int64,
        trials that reached it), `winner_cut` (boolean: the winner is worse there than the quantile that ASHA promotes,
        1/reduction_factor of all, so that ASHA would not have promoted it, had it seen all first).
    """
    table = run.epochs.pivot(index="number", columns="training_iteration", values=run.metric.column)
    table = table if run.metric.maximize else -table
    usable = run.trials.index[~run.trials["status"].isin(["diverged", "failed"])]
    table = table[table.index.isin(usable)]
    ranked = leaderboard(run)
    end = run.study["max_epochs"]
    lengths = sorted({*run.study["rungs"], end} & set(table.columns))
    rows = []
    for rung in [length for length in lengths if length < end]:
        there = table[rung].dropna()
        later = [length for length in lengths if length > rung]
        enough = [
            length for length in later if table[[rung, length]].notna().all(axis=1).sum() >= ENOUGH_FOR_CORRELATION
        ]
        against = enough[-1] if enough else [*later, end][0]
        both = table[[rung, against]].dropna() if against in table else pd.DataFrame({rung: [], against: []})
        # Spearman's rho is Pearson's r of the ranks; a constant has no ranks to compare.
        comparable = len(both) >= FEWEST_FOR_CORRELATION and (both.nunique() > 1).all()
        at_rung = there.get(ranked.index[0]) if len(ranked) else None
        cutoff = there.quantile(1 - 1 / run.study["reduction_factor"])
        rows.append(
            {
                "rung": rung,
                "against": against,
                "trials": len(both),
                "spearman": both[rung].rank().corr(both[against].rank()) if comparable else math.nan,
                "winner_rank": pd.NA if at_rung is None else int((there > at_rung).sum()) + 1,
                "of": len(there),
                "winner_cut": pd.NA if at_rung is None else bool(at_rung < cutoff),
            }
        )
    whole_numbers = dict.fromkeys(("rung", "against", "trials", "of"), "int64")
    dtypes = {**whole_numbers, "spearman": "float64", "winner_rank": "Int64", "winner_cut": "boolean"}
    columns = ["rung", "against", "trials", "spearman", "winner_rank", "of", "winner_cut"]
    return pd.DataFrame(rows, columns=columns).astype(dtypes).set_index("rung")


FEWEST_FOR_IMPORTANCE, MOST_FOR_IMPORTANCE = 4, 1_000
ENOUGH_TRIALS_EACH = 5  # completed trials for each hyperparameter


def common_epoch(run: Run) -> int:
    """The epoch at which most trials can be compared: the longest rung (or max_epochs) that most trials reached."""
    lengths = sorted({*run.study["rungs"], run.study["max_epochs"]})
    reached = {length: int((run.trials["epochs"] >= length).sum()) for length in lengths}
    return int(max(lengths, key=lambda length: (reached[length], length)))


def comparable(run: Run) -> Run:
    """The run itself, where it has about five completed trials for each hyperparameter; else as it stood at the epoch
    that most trials reached."""
    completed = int((run.trials["status"] == "completed").sum())
    if completed >= ENOUGH_TRIALS_EACH * len(run.hyperparameters) or not run.study["rungs"]:
        return run
    return run.at_epoch(common_epoch(run))


def importance(run: Run) -> pd.DataFrame:
    """How much of the differences in the run's metric each hyperparameter explains, by Optuna, over completed trials.

    Trials that were stopped early are left out, as their values are of other epochs; `importance(comparable(run))`
    has more of them, after fewer epochs. With fewer than about five completed trials for each hyperparameter the
    shares are noise: `attrs["trials"]` is how many there were, and `attrs["warning"]` (str or None) says so in words.
    Of more than 1,000 an even part by number is taken, at most that many; `attrs["of"]` is how many there are.

    Returns:
        Index `hyperparameter`, the most important first. Columns `fanova` (Hutter et al. 2014) and `ped_anova`
        (Watanabe et al. 2023, arXiv:2304.10255), shares that sum to 1.

    Raises:
        ValueError: fewer than 4 completed trials, or all of them with the same value.
    """
    completed = run.trials[run.trials["status"] == "completed"].dropna(subset=run.metric.column)
    if len(completed) < FEWEST_FOR_IMPORTANCE:
        raise ValueError(
            f"{count(len(completed), 'completed trial')} cannot tell which hyperparameters matter; it takes "
            f"{FEWEST_FOR_IMPORTANCE}"
        )
    if completed[run.metric.column].nunique() == 1:
        raise ValueError(f"all {len(completed)} completed trials have the same {run.metric.words}")
    taken = completed.iloc[:: math.ceil(len(completed) / MOST_FOR_IMPORTANCE)]
    epochs = run.epochs[run.epochs["number"].isin(taken.index)]
    table = _shares(replace(run, trials=taken, epochs=epochs).to_optuna())
    table.attrs["trials"], table.attrs["of"] = len(taken), len(completed)
    few = len(taken) < ENOUGH_TRIALS_EACH * len(table)
    table.attrs["warning"] = (
        f"{len(taken)} completed trials for {count(len(table), 'hyperparameter')}: these shares are mostly noise"
        if few
        else None
    )
    return table


def _shares(study: "optuna.Study") -> pd.DataFrame:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Some regimes for parameter", UserWarning)  # few trials; the doctor says so
        evaluators = {"fanova": FanovaImportanceEvaluator(seed=0), "ped_anova": PedAnovaImportanceEvaluator()}
        shares = {name: get_param_importances(study, evaluator=each) for name, each in evaluators.items()}
    table = pd.DataFrame(shares).fillna(0.0).sort_values("fanova", ascending=False)
    return table.rename_axis("hyperparameter")


def confusion(predictions: pd.DataFrame, role: str = "winner") -> pd.DataFrame:
    """What each class was taken for.

    Args:
        role: whose predictions: winner, baseline or recipe_under_test.

    Returns:
        Index `label` and columns `predicted` (classes, from 0); test images (int64).

    Raises:
        KeyError: there are no predictions of `role`.
    """
    classes = range(int(predictions[["label", role]].to_numpy().max()) + 1 if len(predictions) else 0)
    counted = pd.crosstab(predictions["label"], predictions[role])
    return counted.reindex(index=classes, columns=classes, fill_value=0).rename_axis(index="label", columns="predicted")


def per_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """The test accuracy on each class.

    Returns:
        Index `label` (classes, from 0). Columns `images` (int64), one fraction per role that has predictions (winner
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
