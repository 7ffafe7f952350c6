"""Questions that a study's tables answer, as pure functions on them. See docs/run-directory.md for the columns."""

from typing import TYPE_CHECKING

import pandas as pd

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


FEWEST_FOR_IMPORTANCE = 4


def importance(run: "Run") -> pd.DataFrame:
    """How much of the differences in validation accuracy each knob explains, by Optuna, over the whole trials.

    Trials that were stopped early are left out, as their accuracies are of other epochs. With fewer than about five
    whole trials a knob the shares are noise: `attrs["trials"]` says how many there were.

    Returns:
        Index knob, the most important first. Columns `fanova` (Hutter et al. 2014) and `ped_anova` (Watanabe et al.
        2023, arXiv:2304.10255), shares that sum to 1.

    Raises:
        ValueError: fewer than 4 whole trials.
    """
    import warnings

    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    whole = int((run.trials["status"] == "completed").sum())
    if whole < FEWEST_FOR_IMPORTANCE:
        raise ValueError(f"{whole} whole trials are too few to tell which knobs matter; 4 are the least")
    study = run.to_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluators = {"fanova": FanovaImportanceEvaluator(seed=0), "ped_anova": PedAnovaImportanceEvaluator()}
    shares = {name: get_param_importances(study, evaluator=each) for name, each in evaluators.items()}
    table = pd.DataFrame(shares).fillna(0.0).sort_values("fanova", ascending=False)
    table.index.name = "knob"
    table.attrs["trials"] = whole
    return table
