"""Questions that a study's tables answer, as pure functions on them. See docs/run-directory.md for the columns."""

import pandas as pd


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
