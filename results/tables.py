"""A run directory as pandas tables, made from its two records, study.json and epochs.jsonl.

    run = load("runs/my-study")
    run.trials.sort_values("val_accuracy")

The records are the truth: the CSV and Parquet files beside them are written from here and never read. A run may be
read while it is going on, after it was killed, and with damaged lines, which are left out and named in `Run.dropped`.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import optuna

RUNS_DIR = "runs"


class RunError(ValueError):
    """A directory that is no run, or a run whose records cannot be read. The message is one line for the user."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Run:
    """Everything that one study did.

    Attributes:
        path: the run directory.
        study: study.json, as docs/run-directory.md describes it.
        trials: one row per trial. Index `number` (int64, the order of suggestion). Columns `trial_id`, `status`,
            `stop_reason` (str), `config/<field>` (the type of the field, missing where it was not drawn), `seed`,
            `epochs`, `training_iteration` (int64), `train_loss`, `val_loss` (nats), `val_accuracy` (fraction; these
            three at the last epoch), `best_val_accuracy` (fraction), `best_epoch` (Int64, from 1), `time_total_s`
            (seconds), `started`, `ended` (seconds since 1970).
        epochs: one row per trial x epoch, by number and epoch. RangeIndex. Columns `number`, `trial_id`,
            `training_iteration` (from 1), `train_loss`, `val_loss` (nats), `val_accuracy` (fraction), `seconds`,
            `time_total_s` (seconds), `time` (seconds since 1970).
        final: final/metrics.json, or None before the final trainings have been evaluated.
        final_epochs: one row per final training x epoch. RangeIndex. Columns as in `epochs`, with `role` (winner,
            baseline) and `seed` in place of `number` and `trial_id`; there is no validation split, so `val_loss` and
            `val_accuracy` are NaN.
        predictions: final/predictions.csv, one row per test image, or None. RangeIndex. Columns `image`, `label`,
            `winner`, `baseline` (classes 0 to 9), `winner_confidence`, `baseline_confidence` (probability of the
            class predicted).
        finalist_epochs, audit_epochs: one row per training x epoch of finalists/ and audit/. RangeIndex. Columns as in
            `final_epochs`, with `trial`, the search's trial that it trains again, and with validation.
        control, tuned_baseline: the run in control/ or tuned-baseline/, or None.
        dropped: what was damaged and left out, one line each.
    """

    path: Path
    study: Mapping[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    final: Mapping[str, Any] | None
    final_epochs: pd.DataFrame
    predictions: pd.DataFrame | None
    finalist_epochs: pd.DataFrame
    audit_epochs: pd.DataFrame
    control: "Run | None"
    tuned_baseline: "Run | None"
    dropped: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Run {self.path}: {len(self.trials)} trials, {len(self.epochs)} epochs, {self.study['status']}>"

    @property
    def name(self) -> str:
        return str(self.study["name"])

    @property
    def base(self) -> dict[str, Any]:
        """Every Recipe field: what a trial has where its config names nothing."""
        return dict(self.study["base"])

    @property
    def baseline(self) -> dict[str, Any]:
        """Every field of the Recipe that the winner is compared with; `base`, unless the study began elsewhere."""
        return dict(self.study.get("baseline", self.study["base"]))

    @property
    def knobs(self) -> dict[str, dict[str, Any]]:
        """What the space varies: field -> Optuna's JSON of its distribution, as an object."""
        return dict(self.study["knobs"])

    @property
    def synthetic(self) -> bool:
        """Whether the images are made up, so that no number says anything about CIFAR-10."""
        return bool(self.study["dataset"] == "synthetic")

    def config(self, number: int) -> dict[str, Any]:
        """The Recipe fields that the space drew for the trial `number`, JSON-ready.

        Raises:
            KeyError: the run has no such trial.
        """
        # cell by cell: a row of whole and other numbers would make all of them floats
        row = self.trials.loc[[number]].filter(regex="^config/")
        drawn = {name: column.iloc[0] for name, column in row.items() if column.notna().iloc[0]}
        # numpy's scalars are not JSON; item() is Python's own number
        return {
            str(name).removeprefix("config/"): value.item() if hasattr(value, "item") else value
            for name, value in drawn.items()
        }

    def recipe(self, number: int) -> dict[str, Any]:
        """Every Recipe field of the trial `number`, JSON-ready.

        Raises:
            KeyError: the run has no such trial.
        """
        seed = int(self.trials["seed"][number])
        return {**self.base, **self.config(number), "epochs": self.study["max_epochs"], "seed": seed}

    def at_epoch(self, epoch: int) -> "Run":
        """The search as it stood when each trial had trained for `epoch` epochs, so that accuracies can be compared.

        A trial that came so far is a completed one, measured after that epoch, whatever became of it; one that did not
        stays as it is. Schedules span max_epochs, so this is not what trainings of `epoch` epochs would have given.

        Raises:
            ValueError: `epoch` is not in 1 to max_epochs.
        """
        if not 1 <= epoch <= self.study["max_epochs"]:
            raise ValueError(f"epoch is {epoch}; allowed: 1 to {self.study['max_epochs']}")
        epochs = self.epochs[self.epochs["training_iteration"] <= epoch]
        measured = self.trials.assign(**_measured(epochs, self.trials.index))
        there = measured["epochs"] == epoch
        trials = measured.assign(
            status=measured["status"].mask(there, "completed"), stop_reason=measured["stop_reason"].mask(there)
        )
        rungs = [rung for rung in self.study["rungs"] if rung < epoch] + [epoch]
        return replace(self, study={**self.study, "max_epochs": epoch, "rungs": rungs}, trials=trials, epochs=epochs)

    def to_optuna(self) -> "optuna.Study":
        """The trials as a real Optuna study in memory, for optuna.visualization and optuna.importance."""
        from results.to_optuna import to_optuna

        return to_optuna(self)


def load(path: str | Path = "latest") -> Run | Any:
    """The run at `path`; the newest run under runs/ for "latest"; or, for a directory of runs, all of them.

    Which of these is known only on disk; code that wants one type calls load_run or load_runs.

    Returns:
        A Run, or a tuple of Runs, oldest first, where `path` is a directory of runs.

    Raises:
        RunError: `path` is neither, or a record of the run cannot be read.
    """
    return load_runs(path) if str(path) != "latest" and find_runs(path) else load_run(path)


def load_run(path: str | Path = "latest") -> Run:
    """The run at `path`, or the newest under runs/ for "latest".

    Raises:
        RunError: no run is there, or one of its records cannot be read.
    """
    if str(path) == "latest":
        return _latest(Path(RUNS_DIR))
    path = Path(path)
    study = _read_study(path)
    dropped: list[str] = []
    record = path / "epochs.jsonl"
    if not record.exists() and study["kind"] == "search" and study["status"] == "finished":
        raise RunError(f"{record} is missing: the study has finished, but the record of its trials is gone")
    trials, epochs = _search_tables(_lines(record, _OF_TRIAL, dropped.append), study["knobs"], dropped.append)
    return Run(
        path=path,
        study=study,
        trials=trials,
        epochs=epochs,
        final=_read_metrics(path / "final" / "metrics.json", dropped.append),
        final_epochs=_listed_epochs(_lines(path / "final" / "epochs.jsonl", _OF_FINAL, dropped.append), _OF_FINAL),
        predictions=_read_predictions(path / "final" / "predictions.csv", dropped.append),
        finalist_epochs=_listed_epochs(
            _lines(path / "finalists" / "epochs.jsonl", _OF_RETRAINED, dropped.append), _OF_RETRAINED
        ),
        audit_epochs=_listed_epochs(
            _lines(path / "audit" / "epochs.jsonl", _OF_RETRAINED, dropped.append), _OF_RETRAINED
        ),
        control=_part(path / "control"),
        tuned_baseline=_part(path / "tuned-baseline"),
        dropped=tuple(dropped),
    )


def load_runs(directory: str | Path = RUNS_DIR) -> tuple[Run, ...]:
    """All runs in `directory`, oldest first. A run that cannot be read is left out with a warning that says why.

    Raises:
        RunError: there is no run in `directory`.
    """
    runs = []
    for path in find_runs(directory):
        try:
            runs.append(load_run(path))
        except RunError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not runs:
        raise RunError(f"{directory} holds no run (a run is a directory with a study.json)")
    return tuple(sorted(runs, key=lambda run: str(run.study["created"])))


def find_runs(directory: str | Path = RUNS_DIR) -> list[Path]:
    """Paths of the runs directly inside `directory`, by name; none if it is not there."""
    return sorted(record.parent for record in Path(directory).glob("*/study.json"))


def write_tables(run: Run) -> None:
    """Write trials and epochs as .csv and .parquet into the run directory, each file whole or not at all."""
    _write_whole(run.path / "trials.csv", run.trials.to_csv)
    _write_whole(run.path / "trials.parquet", run.trials.to_parquet)
    _write_whole(run.path / "epochs.csv", partial(run.epochs.to_csv, index=False))
    _write_whole(run.path / "epochs.parquet", run.epochs.to_parquet)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """A reader sees the old file or the new one, never half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


# Every key that docs/run-directory.md names.
_STUDY_KEYS = (
    "kind",
    "name",
    "command",
    "arguments",
    "status",
    "reason",
    "created",
    "ended",
    "space",
    "knobs",
    "base",
    "samples",
    "max_epochs",
    "grace_period",
    "reduction_factor",
    "rungs",
    "seed",
    "slots",
    "dataset",
    "data",
    "versions",
    "git",
    "hardware",
    "seconds",
    "test_openings",
)


def _latest(directory: Path) -> Run:
    paths = find_runs(directory)
    if not paths:
        raise RunError(f"there is no run under {directory}/ yet (a run is a directory with a study.json)")
    return load_run(max(paths, key=lambda path: str(_read_study(path)["created"])))


def _read_study(path: Path) -> dict[str, Any]:
    record = path / "study.json"
    if not path.is_dir():
        raise RunError(f"{path} is no run: {'it is a file' if path.exists() else 'there is no such directory'}")
    try:
        study = json.loads(record.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is no run: it has no study.json") from None
    except OSError as error:
        raise RunError(f"{record} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{record} is half-written or damaged: {error}") from None
    if not isinstance(study, dict) or "format" not in study:
        raise RunError(f"{record} is not the record of a study: it names no format")
    if study["format"] != 1:
        raise RunError(f"{record} has format {study['format']!r}; this version reads format 1")
    missing = [key for key in _STUDY_KEYS if key not in study]
    if missing:
        raise RunError(f"{record} is incomplete: it lacks {', '.join(missing)}")
    return study


# What says of which training an event is, and the other keys of each event.
_OF_TRIAL = {"number": int}
_OF_FINAL = {"role": str, "seed": int}
_OF_RETRAINED = {"role": str, "seed": int, "trial": int}
_EVENT_KEYS = {
    "trial": {"config", "seed", "time"},
    "epoch": {"training_iteration", "train_loss", "val_loss", "val_accuracy", "seconds", "time_total_s", "time"},
    "retry": {"reason", "time"},
    "rest": {"time"},
    "promote": {"time"},
    "end": {"status", "stop_reason", "time"},
}


def _lines(
    record: Path, identity: Mapping[str, type], drop: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each whole event of an append-only record with the name of its line; nothing if the record is not there yet."""
    if not record.exists():
        return
    lines = record.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{record.parent.name}/{record.name} line {number}"
        try:
            event = json.loads(line)
        except ValueError:
            drop(f"{where}, the last, is half-written" if number == len(lines) else f"{where} is damaged")
            continue
        fault = _fault(event, identity)
        if fault is None:
            yield where, event
        else:
            drop(f"{where} {fault}")


def _fault(event: Any, identity: Mapping[str, type]) -> str | None:
    """What keeps `event` from being an event of the record, in words."""
    if not isinstance(event, dict) or event.get("event") not in _EVENT_KEYS:
        return "is no event of a study"
    if any(not isinstance(event.get(name), kind) for name, kind in identity.items()):
        return f"is damaged: its {event['event']} event does not say of which training"
    missing = _EVENT_KEYS[event["event"]] - event.keys()
    return f"is damaged: its {event['event']} event lacks {', '.join(sorted(missing))}" if missing else None


_EPOCH_DTYPES = {
    "training_iteration": "int64",
    "train_loss": "float64",
    "val_loss": "float64",
    "val_accuracy": "float64",
    "seconds": "float64",
    "time_total_s": "float64",
    "time": "float64",
}


def _search_tables(
    lines: Iterable[tuple[str, dict[str, Any]]], knobs: Iterable[str], drop: Callable[[str], None]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    starts: dict[int, dict[str, Any]] = {}
    ends: dict[int, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for where, event in lines:
        number = event["number"]
        if event["event"] == "trial" and "trial_id" in event:
            starts[number] = event
        elif number not in starts:
            drop(f"{where} is of trial {number}, whose first line is damaged or missing")
        elif event["event"] == "epoch":
            rows.append({**event, "trial_id": starts[number]["trial_id"]})
        elif event["event"] == "end":
            ends[number] = event
    epochs = _epochs_table(rows, {"number": "int64", "trial_id": "str"})
    return _trials_table(starts, ends, epochs, knobs), epochs


def _listed_epochs(lines: Iterable[tuple[str, dict[str, Any]]], identity: Mapping[str, type]) -> pd.DataFrame:
    """Of a training that was begun again under another number, as a larger study's new winner is, the last."""
    events = [event for _, event in lines]
    number = {tuple(event[name] for name in identity): event.get("number") for event in events}
    rows = [
        event
        for event in events
        if event["event"] == "epoch" and event.get("number") == number[tuple(event[name] for name in identity)]
    ]
    return _epochs_table(rows, {name: "int64" if kind is int else "str" for name, kind in identity.items()})


def _part(path: Path) -> Run | None:
    """A search beside the search, which is a run of its own."""
    return load_run(path) if (path / "study.json").exists() else None


def _epochs_table(rows: list[dict[str, Any]], of_training: dict[str, str]) -> pd.DataFrame:
    """One row per training x epoch; of an epoch that was trained again after a crash, the last."""
    dtypes = {**of_training, **_EPOCH_DTYPES}
    key = [name for name in of_training if name != "trial_id"] + ["training_iteration"]
    table = pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)
    return table.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)


def _trials_table(
    starts: dict[int, dict[str, Any]], ends: dict[int, dict[str, Any]], epochs: pd.DataFrame, knobs: Iterable[str]
) -> pd.DataFrame:
    numbers = pd.Index(sorted(starts), dtype="int64", name="number")
    events = [starts[number] for number in numbers]
    no_end = {"status": "running", "stop_reason": None, "time": None}
    last_events = [ends.get(number, no_end) for number in numbers]
    fields = dict.fromkeys([*knobs, *(field for event in events for field in event["config"])])
    return pd.DataFrame(
        {
            "trial_id": pd.Series([event["trial_id"] for event in events], numbers, "str"),
            "status": pd.Series([event["status"] for event in last_events], numbers, "str"),
            "stop_reason": pd.Series([event["stop_reason"] for event in last_events], numbers, "str"),
            **{f"config/{name}": _drawn([event["config"].get(name) for event in events], numbers) for name in fields},
            "seed": pd.Series([event["seed"] for event in events], numbers, "int64"),
            **_measured(epochs, numbers),
            "started": pd.Series([event["time"] for event in events], numbers, "float64"),
            "ended": pd.Series([event["time"] for event in last_events], numbers, "float64"),
        },
        index=numbers,
    )


def _measured(epochs: pd.DataFrame, numbers: pd.Index) -> dict[str, pd.Series]:
    """The columns of the trials table that say how far each trial came, and what it had there."""
    last = epochs.drop_duplicates("number", keep="last").set_index("number").reindex(numbers)
    known = epochs.dropna(subset="val_accuracy")
    best = known.loc[known.groupby("number")["val_accuracy"].idxmax()].set_index("number").reindex(numbers)
    count = epochs["number"].value_counts().reindex(numbers, fill_value=0).astype("int64")
    return {
        "epochs": count,
        "training_iteration": count,
        "train_loss": last["train_loss"],
        "val_loss": last["val_loss"],
        "val_accuracy": last["val_accuracy"],
        "best_val_accuracy": best["val_accuracy"],
        "best_epoch": best["training_iteration"].astype("Int64"),
        "time_total_s": last["time_total_s"].fillna(0.0),
    }


def _drawn(values: list[Any], numbers: pd.Index) -> pd.Series:
    """A config column of the type of its field, whole numbers and booleans staying such beside missing values."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        kinds = {float}
    whole = None not in values
    dtypes = {
        bool: "bool" if whole else "boolean",
        int: "int64" if whole else "Int64",
        float: "float64",
        str: "str",
    }
    kind = kinds.pop() if len(kinds) == 1 else object
    return pd.Series(values, numbers, dtypes.get(kind, "object"))


def _read_metrics(path: Path, drop: Callable[[str], None]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        metrics = json.loads(path.read_bytes())
    except ValueError as error:
        drop(f"final/{path.name} is damaged: {error}")
        return None
    fault = _metrics_fault(metrics)
    if fault is not None:
        drop(f"final/{path.name} is damaged: it {fault}")
        return None
    return dict(metrics)


_OF_ANY_FINAL = {"published_accuracy", "final_epochs"}
_OF_A_VERDICT = {"winner", "baseline", "difference", "difference_interval", "verdict", "sentence"}
_OF_A_SIDE = {"recipe", "accuracy", "interval", "n", "seeds"}


def _metrics_fault(metrics: Any) -> str | None:
    """What keeps `metrics` from being those of a final, in words."""
    if not isinstance(metrics, dict):
        return "holds no metrics"
    of_kind = {"recipe_under_test"} if "recipe_under_test" in metrics else _OF_A_VERDICT
    missing = (_OF_ANY_FINAL | of_kind) - metrics.keys()
    for role in ("winner", "baseline", "recipe_under_test"):
        if role in metrics:
            side = metrics[role]
            missing |= {f"{role}/{name}" for name in _OF_A_SIDE - (side.keys() if isinstance(side, dict) else set())}
    return f"lacks {', '.join(sorted(missing))}" if missing else None


def _read_predictions(path: Path, drop: Callable[[str], None]) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        predictions = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        drop(f"final/{path.name} is damaged: {str(error).splitlines()[0]}")
        return None
    if not {"image", "label"} <= set(predictions.columns) or predictions.isna().to_numpy().any():
        drop(f"final/{path.name} is damaged: it lacks columns or values")
        return None
    return predictions
