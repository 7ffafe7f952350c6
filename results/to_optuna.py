"""Tables as an Optuna study, so that everything that Optuna draws and computes works on them: `Run.to_optuna`."""

import json
from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from results.metric import MetricInfo

_STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
    "paused": TrialState.RUNNING,
    "running": TrialState.RUNNING,
    "interrupted": TrialState.RUNNING,
}


def optuna_study(
    name: str,
    metric: MetricInfo,
    hyperparameters: Mapping[str, Mapping[str, Any]],
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
) -> optuna.Study:
    """A study in memory; `Run.to_optuna` says what it holds.

    Args:
        name: of the study.
        metric: its direction, and what its values are.
        hyperparameters: name -> Optuna's JSON of its distribution, as an object.
        trials, epochs: as `Run` has them.
    """
    ranges = {each: json_to_distribution(json.dumps(about)) for each, about in hyperparameters.items()}
    columns = {each: f"params/{each}" if f"params/{each}" in trials else f"config/{each}" for each in ranges}
    values = {each: dict(curve) for each, curve in _curves(epochs, metric.column)}
    study = _empty_study(name, metric)
    for number, row in zip(map(int, trials.index), trials.astype(object).to_dict("records"), strict=True):
        drawn = {each: row[column] for each, column in columns.items() if column in trials and pd.notna(row[column])}
        inside = {each: value for each, value in drawn.items() if _contains(ranges[each], value)}
        study.add_trial(_frozen(number, row, inside, {each: ranges[each] for each in inside}, values.get(number, {})))
    return study


def _empty_study(name: str, metric: MetricInfo) -> optuna.Study:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        direction = StudyDirection.MAXIMIZE if metric.maximize else StudyDirection.MINIMIZE
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        study.set_user_attr("metric", metric.column)
    finally:
        optuna.logging.set_verbosity(level)
    return study


def _curves(epochs: pd.DataFrame, column: str) -> list[tuple[int, "pd.Series[float]"]]:
    measured = epochs.dropna(subset=column).set_index("training_iteration")
    return [(int(str(number)), curve) for number, curve in measured.groupby("number")[column]]


def _frozen(
    number: int,
    row: Mapping[Hashable, Any],
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    values: dict[int, float],
) -> FrozenTrial:
    state = _STATES[row["status"]]
    measured = values[max(values)] if values else None
    # A completed trial without a measured epoch has nothing that Optuna could rank.
    if state == TrialState.COMPLETE and measured is None:
        state = TrialState.FAIL
    return FrozenTrial(
        number=number,
        state=state,
        value=measured if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        datetime_start=datetime.fromtimestamp(row["started"]),
        datetime_complete=datetime.fromtimestamp(row["ended"]) if state.is_finished() else None,
        params=params,
        distributions=distributions,
        user_attrs={} if pd.isna(row["stop_reason"]) else {"stop_reason": row["stop_reason"]},
        system_attrs={},
        intermediate_values=values,
        trial_id=number,
    )


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(distribution.low <= value <= distribution.high)  # type: ignore[attr-defined]
