"""A study's state as pandas tables; `Run` documents their columns.

They are made from `events.State`, the one reducer of an event log.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from results.events import State, TrialState
from results.metric import MetricInfo

_METRICS = ("train_loss", "val_loss", "val_accuracy")  # of every study, in this order
COUNTED_COSTS = ("parameters", "multiply_adds", "file_bytes")
_TIMES = ("seconds", "time_total_s", "time")


def epochs_table(state: State, metric: MetricInfo) -> pd.DataFrame:
    """One row per trial and epoch, by number and epoch."""
    trials = sorted(state.trials.values(), key=lambda trial: trial.number)
    rows = [
        {"number": trial.number, "trial_id": trial.started.trial_id, **row} for trial in trials for row in _rows(trial)
    ]
    return _table(rows, {"number": "int64", "trial_id": "str"}, metric)


def labelled_epochs_table(state: State, labels: Mapping[str, str], metric: MetricInfo) -> pd.DataFrame:
    """One row per training and epoch of a phase that tells its trainings apart by `labels` (name -> dtype).

    Of a training that was begun again under another number, as a larger study's new winner is, the last counts.
    """
    latest: dict[tuple[Any, ...], TrialState] = {}
    for trial in state.trials.values():
        latest[tuple(trial.started.labels.get(name) for name in labels)] = trial
    rows = [{**dict(zip(labels, key, strict=True)), **row} for key, trial in latest.items() for row in _rows(trial)]
    table = _table(rows, labels, metric)
    return table.sort_values([*labels, "training_iteration"], kind="stable", ignore_index=True)


def _rows(trial: TrialState) -> Iterable[dict[str, Any]]:
    for epoch in trial.epochs:
        times = {"seconds": epoch.seconds, "time_total_s": epoch.time_total_s, "time": epoch.time}
        yield {"training_iteration": epoch.epoch, **epoch.metrics, **times}


def _table(rows: Sequence[Mapping[str, Any]], of_training: Mapping[str, str], metric: MetricInfo) -> pd.DataFrame:
    measured = dict.fromkeys([*_METRICS, metric.column, *(name for row in rows for name in row)])
    names = [name for name in measured if name not in (*of_training, "training_iteration", *_TIMES)]
    dtypes = {**of_training, "training_iteration": "int64", **dict.fromkeys([*names, *_TIMES], "float64")}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def trials_table(
    state: State, epochs: pd.DataFrame, hyperparameters: Iterable[str], metric: MetricInfo, *, is_running: bool
) -> pd.DataFrame:
    """One row per trial, by number.

    Args:
        is_running: whether a process works on the study; else trials that have not ended are interrupted.
    """
    trials = [state.trials[number] for number in sorted(state.trials)]
    numbers = pd.Index([trial.number for trial in trials], dtype="int64", name="number")
    configs = [trial.started.config for trial in trials]
    derived = any(trial.started.params is not None for trial in trials)
    params = [trial.started.config if trial.started.params is None else trial.started.params for trial in trials]
    ends = [trial.end for trial in trials]
    return pd.DataFrame(
        {
            "trial_id": pd.Series([trial.started.trial_id for trial in trials], numbers, "str"),
            "status": pd.Series([_status(trial, is_running) for trial in trials], numbers, "str"),
            "stop_reason": pd.Series([None if end is None else end.reason for end in ends], numbers, "str"),
            **_drawn("config", configs, () if derived else hyperparameters, numbers),
            **(_drawn("params", params, hyperparameters, numbers) if derived else {}),
            "seed": pd.Series([trial.started.seed for trial in trials], numbers, "int64"),
            **_costs(trials, numbers),
            **measured_columns(epochs, numbers, metric),
            "started": pd.Series([trial.started.time for trial in trials], numbers, "float64"),
            "ended": pd.Series([None if end is None else end.time for end in ends], numbers, "float64"),
        },
        index=numbers,
    )


def _costs(trials: Sequence[TrialState], numbers: "pd.Index[int]") -> dict[str, "pd.Series[Any]"]:
    """What each trial's network costs; no column where no trial has recorded it."""
    found = [trial.started.costs or {} for trial in trials]
    if not any(found):
        return {}
    return {name: pd.Series([each.get(name) for each in found], numbers, "Int64") for name in COUNTED_COSTS}


def _status(trial: TrialState, is_running: bool) -> str:
    if trial.end is not None:
        return trial.end.status
    if trial.paused:
        return "paused"
    return "running" if is_running else "interrupted"


def measured_columns(epochs: pd.DataFrame, numbers: "pd.Index[int]", metric: MetricInfo) -> dict[str, "pd.Series[Any]"]:
    """The columns of the trials table that say how far each trial came, and what it had there."""
    last = epochs.drop_duplicates("number", keep="last").set_index("number").reindex(numbers)
    known = epochs.dropna(subset=metric.column)
    of_trial = known.groupby("number")[metric.column]
    best = known.loc[of_trial.idxmax() if metric.maximize else of_trial.idxmin()].set_index("number").reindex(numbers)
    count = epochs["number"].value_counts().reindex(numbers, fill_value=0).astype("int64")
    names = [name for name in epochs if name in _METRICS or str(name).startswith("val_")]
    return {
        "epochs": count,
        "training_iteration": count,
        **{str(name): last[name] for name in names},
        f"best_{metric.column}": best[metric.column],
        "best_epoch": best["training_iteration"].astype("Int64"),
        "time_total_s": last["time_total_s"].fillna(0.0),
    }


def _drawn(
    prefix: str, drawn: Sequence[Mapping[str, Any]], first: Iterable[str], numbers: "pd.Index[int]"
) -> dict[str, "pd.Series[Any]"]:
    """A column for every name that was drawn, those in `first` at the beginning."""
    names = dict.fromkeys([*first, *(name for values in drawn for name in values)])
    return {f"{prefix}/{name}": _column([values.get(name) for values in drawn], numbers) for name in names}


def _column(values: list[Any], numbers: "pd.Index[int]") -> "pd.Series[Any]":
    """A column of the type of its values, integers and booleans staying such beside missing values."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        kinds = {float}
    complete = None not in values
    dtypes = {
        bool: "bool" if complete else "boolean",
        int: "int64" if complete else "Int64",
        float: "float64",
        str: "str",
    }
    kind = kinds.pop() if len(kinds) == 1 else object
    return pd.Series(values, numbers, dtypes.get(kind, "object"))
