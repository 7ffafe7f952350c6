"""Run directories on disk: finding and reading them, and writing their tables.

    run = load("runs/my-study")
    run.trials.sort_values("val_accuracy")

study.json and the event log epochs.jsonl are the truth: the CSV and Parquet files beside them are written from here
and never read. A run may be read while it runs, after it was killed, and with damaged lines, which are left out and
named in `Run.dropped`.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from results import schema
from results.events import Event, EventError, State, TrialStarted
from results.metric import ACCURACY, MetricInfo
from results.run import Run, RunError
from results.tables import epochs_table, labelled_epochs_table, trials_table

RUNS_DIR = "runs"
# What tells the trainings of a phase apart, and its type in the tables.
AUDITED = {"role": "str", "seed": "int64", "trial": "int64"}
FINALIST = {**AUDITED, "fold": "str"}
MAY_LACK = {"fold"}


def load(path: str | Path = "latest") -> Run:
    """The run at `path`, which is all that `find_run` takes.

    Raises:
        RunError: it is no run, or it cannot be read. A directory of runs is for `load_runs`.
    """
    return load_run(path)


def load_run(path: str | Path = "latest") -> Run:
    """The run at `path`, which is all that `find_run` takes.

    Raises:
        RunError: it is no run, or it cannot be read. A directory of runs is for `load_runs`.
    """
    return _read_or_say_why(find_run(path))


def load_runs(directory: str | Path = RUNS_DIR) -> tuple[Run, ...]:
    """All runs in `directory`, oldest first. A run that cannot be read is left out with a warning that says why.

    Raises:
        RunError: there is no run in `directory`.
    """
    runs = []
    for path in find_runs(directory):
        try:
            runs.append(_read_or_say_why(path))
        except RunError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not runs:
        raise RunError(f"{directory} holds no run (a run is a directory with a study.json)")
    return tuple(sorted(runs, key=lambda run: str(run.study["created"])))


def find_runs(directory: str | Path = RUNS_DIR) -> list[Path]:
    """Paths of the runs directly inside `directory`, by name; none if it is not there."""
    return sorted(file.parent for file in Path(directory).glob("*/study.json"))


def find_run(path: str | Path = "latest", runs_dir: str | Path = RUNS_DIR) -> Path:
    """The run directory that a user means.

    Args:
        path: "latest", the newest run in `runs_dir`; a run directory; a file of one, such as its best.json; or the
            name of a run in `runs_dir`.

    Raises:
        RunError: there is no such run.
    """
    if str(path) == "latest":
        return _latest(Path(runs_dir))
    if "://" in str(path):
        raise RunError(f"{path} is in a store; bring it here first: python -m results fetch {path}")
    place = Path(path)
    named = Path(runs_dir) / place
    is_here = place.is_file() or (place / "study.json").exists()
    if not is_here and len(place.parts) == 1 and (named / "study.json").exists():
        return named
    if place.is_file() and (place.parent / "study.json").exists():
        return place.parent
    if not (place / "study.json").exists():
        raise RunError(f"{place} is no run: {_why_no_run(place)}")
    return place


def _why_no_run(place: Path) -> str:
    if not place.exists():
        return "there is no such directory"
    if not place.is_dir():
        return "it is a file outside any run"
    runs = find_runs(place)
    if runs:
        return f"it is a directory of runs, such as {runs[0]}; results.load_runs reads all of them"
    return "it has no study.json"


def _latest(directory: Path) -> Path:
    paths = find_runs(directory)
    if not paths:
        raise RunError(f"there is no run under {directory}/ yet (a run is a directory with a study.json)")
    created: dict[Path, str] = {}
    for path in paths:
        try:
            created[path] = str(schema.read_study(path / "study.json")["created"])
        except schema.SchemaError:
            continue  # a damaged run does not hide the others
    if not created:
        raise RunError(f"no run under {directory}/ can be read; python -m results list {directory} says why")
    return max(created, key=lambda path: created[path])


def _read_or_say_why(path: Path) -> Run:
    try:
        return _read(path)
    except OSError as error:
        raise RunError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def _read(path: Path, lock: Path | None = None) -> Run:
    """The run at `path`.

    Args:
        lock: the file that whoever works on it holds; its own .lock if None.
    """
    study = _read_study(path)
    log = path / "epochs.jsonl"
    if not log.exists() and study["kind"] == "search" and study["status"] == "finished":
        raise RunError(f"{log} is missing: the study has finished, but the log of its trials is gone")
    metric = MetricInfo(**study["metric"]) if study.get("metric") else ACCURACY
    reader, status = _Reader(path, metric), _status(study["status"], lock or path / ".lock")
    state = reader.state("", ())
    epochs = epochs_table(state, metric)
    return Run(
        path=path,
        study=study,
        status=status,
        metric=metric,
        trials=trials_table(state, epochs, study["knobs"], metric, is_running=status == "running"),
        epochs=epochs,
        best=reader.json("best.json", partial(schema.read, model=schema.BestFile)),
        final=reader.json("final/metrics.json", schema.read_metrics),
        final_epochs=reader.labelled_epochs("final", {"role": "str", "seed": "int64"}),
        predictions=reader.predictions("final/predictions.csv"),
        finalist_epochs=reader.labelled_epochs("finalists", FINALIST),
        audit_epochs=reader.labelled_epochs("audit", AUDITED),
        data=reader.json("data.json", partial(schema.read, model=schema.DataFile)),
        control=reader.part("control"),
        tuned_baseline=reader.part("tuned-baseline"),
        replicates=reader.replicates(),
        dropped=tuple(reader.dropped),
    )


def _read_study(path: Path) -> dict[str, Any]:
    try:
        return schema.read_study(path / "study.json")
    except schema.SchemaError as error:
        half = "" if error.is_json else "is half-written, or "
        raise RunError(f"{path / 'study.json'} {half}{error.fault}") from None


def read_status(path: Path) -> str:
    """The status of the run at `path`, as `Run.status` has it, from study.json alone.

    Raises:
        RunError: study.json cannot be read.
    """
    return _status(_read_study(path)["status"], path / ".lock")


class _Reader:
    """Reads the files of one run directory; what is damaged is left out and named in `dropped`."""

    def __init__(self, path: Path, metric: MetricInfo) -> None:
        self.path, self.metric = path, metric
        self.dropped: list[str] = []

    def state(self, folder: str, labels: tuple[str, ...]) -> State:
        """What the readable lines of an event log add up to; nothing if it is not there yet."""
        state = State(gaps=True)
        for _ in self.events(folder, labels, state):
            pass
        return state

    def events(self, folder: str, labels: tuple[str, ...], state: State) -> Iterator[Event]:
        """The events of a log in order, each after it has been applied to `state`."""
        log = self.path / folder / "epochs.jsonl"
        lines = log.read_bytes().split(b"\n") if log.exists() else []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            found = _apply(state, line, labels, is_last=number == len(lines))
            if isinstance(found, Event):
                yield found
            else:
                self.dropped.append(f"{log.parent.name}/{log.name} line {number}{found}")

    def labelled_epochs(self, folder: str, labels: dict[str, str]) -> pd.DataFrame:
        needed = tuple(name for name in labels if name not in MAY_LACK)
        return labelled_epochs_table(self.state(folder, needed), labels, self.metric)

    def json(self, name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return read(self.path / name) if (self.path / name).exists() else None
        except schema.SchemaError as error:
            self.dropped.append(f"{name} {error.fault}")
            return None

    def predictions(self, name: str) -> pd.DataFrame | None:
        if not (self.path / name).exists():
            return None
        try:
            table = pd.read_csv(self.path / name)
        except (OSError, ValueError) as error:
            self.dropped.append(f"{name} is damaged: {str(error).splitlines()[0]}")
            return None
        fault = _predictions_fault(table)
        if fault:
            self.dropped.append(f"{name} is damaged: {fault}")
            return None
        return table

    def part(self, name: str) -> Run | None:
        """A search beside the search, which is a run of its own."""
        if not (self.path / name / "study.json").exists():
            return None
        try:
            return _read(self.path / name, self.path / ".lock")
        except RunError as error:
            self.dropped.append(f"{name}/ cannot be read: {error}")
            return None

    def replicates(self) -> tuple[Run, ...]:
        """The runs in replicates/, by number."""
        names = [path.name for path in (self.path / "replicates").glob("*") if path.name.isdecimal()]
        found = [self.part(f"replicates/{name}") for name in sorted(names, key=int)]
        return tuple(run for run in found if run is not None)


def _status(recorded: str, lock: Path) -> str:
    """What study.json says, unless it says "running" and nobody holds the lock of the process that works on the run.

    Without a lock file, as in a copy of a run, what it says is all that is known.
    """
    if recorded != "running" or not lock.exists():
        return recorded
    try:
        with FileLock(lock, blocking=False):
            return "interrupted"
    except (Timeout, OSError):  # somebody holds it, or it belongs to another user
        return recorded


def read_events(run: Run) -> list[Event]:
    """The events of the search's log, in order; damaged lines are left out, as `Run.dropped` says.

    Raises:
        OSError: the log cannot be read.
    """
    return list(_Reader(run.path, run.metric).events("", (), State(gaps=True)))


def _apply(state: State, line: bytes, labels: tuple[str, ...], *, is_last: bool) -> Event | str:
    """The event in `line`, added to `state`; or why it cannot be, in words that follow the line's name."""
    try:
        event = schema.read_event(line, labels)
    except schema.SchemaError as error:
        return ", the last, is half-written" if is_last and not error.is_json else f" {error.fault}"
    try:
        state.apply(event)
    except EventError:
        if isinstance(event, TrialStarted):
            return f" begins trial {event.number} a second time"
        why = "which has ended" if event.number in state.trials else "whose first line is damaged or missing"
        return f" is of trial {event.number}, {why}"
    return event


def _predictions_fault(table: pd.DataFrame) -> str:
    """What keeps a table from being that of final/predictions.csv, in words; "" where nothing does."""
    if not {"image", "label"} <= set(table.columns) or table.isna().to_numpy().any():
        return "it lacks columns or values"
    for name, column in table.items():
        is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        is_class = not str(name).endswith("_confidence")
        if not is_number or (
            is_class and not (pd.api.types.is_integer_dtype(column) and column.between(0, 10**9).all())
        ):
            return f"its column {name!a} holds no {'class numbers' if is_class else 'probabilities'}"
    return ""


def write_tables(run: Run) -> None:
    """Writes trials and epochs as .csv and .parquet into the run directory, each file completely or not at all."""
    write_atomically(run.path / "trials.csv", run.trials.to_csv)
    write_atomically(run.path / "trials.parquet", _for_parquet(run.trials).to_parquet)
    write_atomically(run.path / "epochs.csv", partial(run.epochs.to_csv, index=False))
    write_atomically(run.path / "epochs.parquet", run.epochs.to_parquet)


def _for_parquet(table: pd.DataFrame) -> pd.DataFrame:
    """Parquet has no columns of mixed types, such as choices of "auto" and 8: those are text there."""
    mixed = [name for name, dtype in table.dtypes.items() if pd.api.types.is_object_dtype(dtype)]
    return table.assign(**{str(name): table[name].map(str, na_action="ignore").astype("str") for name in mixed})


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary path beside `path`, then moves that file there: a reader sees the old file or the
    new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
