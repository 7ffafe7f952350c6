"""How a run begins and ends, whatever it does in between: directory, data, Ray, study.json; status and exit code."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from results import RunError
from search_spaces import SpaceError
from study import data
from study.data import DataOptions, Dataset, Split, test_set
from study.errors import (
    ClusterError,
    DataError,
    EventLogError,
    RecipeError,
    ResourceError,
    StoreError,
    StudyFailed,
    UsageError,
    WeightsError,
)
from study.execution import cluster, resources
from study.execution.resources import Slots
from study.execution.runner import Interruption
from study.flags import Parser
from study.storage.event_log import StudyFile, now, surroundings
from study.storage.store import Folder, Store, fetch

# What a user can mend, each with its one line.
REFUSALS = (
    UsageError, SpaceError, DataError, RecipeError, EventLogError, ResourceError, RunError, WeightsError, ClusterError,
    StoreError,
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Where the images are, on which Ray trainings run, what each may take (None leaves that to `resources.plan`), and
    where they keep what outlives them (None: in the run's directory)."""

    data_dir: Path
    dataset: str
    gpus_per_trial: float | None
    cpus_per_trial: float | None
    max_concurrent: int | None
    address: str
    storage_path: str | None

    @classmethod
    def of(cls, arguments: Any) -> "Machine":
        """As a command line's arguments have it, under the same names."""
        return cls(**{field.name: getattr(arguments, field.name) for field in fields(cls)})

    def folder(self, run_dir: Path) -> Folder:
        """The run's directory, and its place below --storage-path."""
        return Folder(run_dir, None if self.storage_path is None else Store(self.storage_path).below(run_dir.name))


@dataclass(frozen=True)
class RunContext:
    """A run that has begun, or goes on: its directory, its study.json, all training images, and what each training may
    take. No other process can open it while this one lives."""

    folder: Folder
    study: StudyFile
    dataset: Dataset
    slots: Slots
    machine: Machine
    lock: FileLock

    @property
    def training(self) -> Split:
        return self.dataset.training

    @property
    def run_dir(self) -> Path:
        return self.folder.path


@contextmanager
def exit_on_user_error(program: str) -> Iterator[None]:
    """Inside, a mistake that the user can mend ends in its own words and exit code 2."""
    try:
        yield
    except REFUSALS as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: stopped by SIGINT", file=sys.stderr)
        sys.exit(130)


def start_run(run_dir: Path, machine: Machine, say: Callable[[str], None], asked: Mapping[str, Any]) -> RunContext:
    """Makes the run's directory, has the data, starts Ray, and writes study.json.

    Args:
        asked: what only the caller knows of study.json: kind, command, arguments, space, knobs, ...

    Raises:
        UsageError, ResourceError, DataError, ClusterError, StoreError: with no trace left of the run.
    """
    check(machine)
    _make(run_dir)
    held, folder = lock(run_dir), machine.folder(run_dir)
    try:
        ready = _make_ready(machine, folder, say)
        if folder.store.read("study.json") is not None:
            raise UsageError(f"--storage-path holds a run {run_dir.name} already; give another --name, or --resume it")
    except BaseException:
        held.release()
        Path(held.lock_file).unlink(missing_ok=True)
        run_dir.rmdir()
        raise
    content = {
        "format": 1,
        "name": run_dir.name,
        **asked,
        "status": "running",
        "reason": None,
        "created": now(),
        "ended": None,
        "resumed": [],
        "slots": ready.slots.count,
        "threads": ready.slots.threads,
        "dataset": machine.dataset,
        "data": ready.data,
        **surroundings(ready.nodes),
        "seconds": ready.seconds,
        "test_openings": [],
    }
    study = StudyFile(run_dir / "study.json", content, folder.copy)
    return RunContext(folder, study, ready.dataset, ready.slots, machine, held)


def resume_run(run_dir: Path, machine: Machine, say: Callable[[str], None], asked: Mapping[str, Any]) -> RunContext:
    """Goes on with a run, whatever ended it; what it has done so far is not touched.

    Args:
        asked: what has changed of study.json: command, arguments, samples.

    Raises:
        UsageError: another process works on the run, or the images are not those that it began with.
        EventLogError, ResourceError, DataError, ClusterError: the run stays as it was.
    """
    check(machine)
    folder = machine.folder(run_dir)
    study = StudyFile(run_dir / "study.json", on_change=folder.copy)
    held = lock(run_dir)
    ready = _make_ready(machine, folder, say)
    if ready.data != study.content["data"]:
        raise UsageError(f"{machine.data_dir} holds other images, or another split, than {run_dir} was begun with")
    sitting = {"time": now(), "command": asked["command"], **surroundings(ready.nodes)}
    study.update(
        **{name: value for name, value in asked.items() if name != "command"},
        status="running",
        reason=None,
        ended=None,
        resumed=[*study.content.get("resumed", []), sitting],
        slots=ready.slots.count,
        threads=ready.slots.threads,
    )
    for part, seconds in ready.seconds.items():
        study.add_seconds(part, seconds)
    return RunContext(folder, study, ready.dataset, ready.slots, machine, held)


def merge_resume_arguments(
    resume: Path | str,
    kind: str,
    parser: Parser,
    command: Sequence[str],
    meaning: Sequence[str],
    of_a_sitting: Sequence[str],
) -> dict[str, Any]:
    """The flags that the run at `resume` began with, as study.json keeps them, changed by those that `command` names.

    Args:
        resume: its directory; or the URL of its copy in a store, which is fetched into --runs-dir first.
        kind: of run, as study.json has it.
        meaning: what the run means; these flags stay as they were.
        of_a_sitting: what holds for one sitting only; these are as `command` has them, or by default.

    Raises:
        UsageError: `command` changes what the run means, or the run is not of this kind.
        EventLogError: its study.json cannot be read.
        StoreError: the store does not answer.
    """
    moved: dict[str, Any] = {}
    asked = parser.parse_args(command)
    if isinstance(resume, str):
        parent, name = Store(resume).above()
        run_dir = asked.runs_dir / name
        _fetch(Store(resume), run_dir)
        moved = {"storage_path": parent.location, "runs_dir": asked.runs_dir, "resume": run_dir}
    else:
        run_dir = resume
    content = StudyFile(run_dir / "study.json").content
    if content.get("kind") != kind or "/" in content["name"]:
        raise UsageError(f"{run_dir} is no run of {parser.prog}")
    defaults = vars(parser.parse_args([]))
    parser.set_defaults(**dict.fromkeys(defaults))
    given = {name: value for name, value in vars(parser.parse_args(command)).items() if value is not None}
    begun = {**as_json(defaults), **content["arguments"]}
    for name in meaning:
        if name in given and name not in moved and as_json(given)[name] != begun[name]:
            flag = "--" + name.replace("_", "-")
            was = "not given" if begun[name] is None else f"{begun[name]}"
            raise UsageError(f"{flag} was {was} when {run_dir} began, and a resumed study keeps its meaning")
    values = {**begun, **{name: defaults[name] for name in of_a_sitting}, **given, **moved}
    return {**values, **{name: Path(values[name]) for name in ("runs_dir", "data_dir")}}


def _fetch(store: Store, run_dir: Path) -> None:
    if run_dir.exists():
        raise UsageError(f"{run_dir} is here, and newer than its copy; give --resume {run_dir}, or another --runs-dir")
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        fetch(store, run_dir)
    except FileNotFoundError as error:
        raise UsageError(f"--resume: {error}") from None


@dataclass(frozen=True)
class _Ready:
    """Data and Ray, as a run needs them, and how long it took."""

    dataset: Dataset
    data: dict[str, Any]
    nodes: list[dict[str, Any]]
    slots: Slots
    seconds: dict[str, float]


def check(machine: Machine) -> None:
    """What can be asked of it at once.

    Raises:
        ClusterError: nothing answers at its address.
        ResourceError: no training can have such a share.
    """
    cluster.check_answers(machine.address)
    for flag, amount in (("gpus", machine.gpus_per_trial), ("cpus", machine.cpus_per_trial)):
        if amount is not None:
            resources.check_fraction(f"--{flag}-per-trial", amount)


def _make_ready(machine: Machine, folder: Folder, say: Callable[[str], None]) -> _Ready:
    began = time.perf_counter()
    dataset = data.load(machine.dataset, DataOptions(machine.data_dir), say)
    test_set.check(dataset)
    train, validation = dataset.split()
    has_data = time.perf_counter()
    nodes = cluster.start_ray(machine.address)
    if machine.storage_path is not None:
        cluster.check_shared(folder.store)
    elif len(nodes) > 1:
        raise UsageError(
            f"--address {machine.address} is a cluster of {len(nodes)} nodes, whose trainings must find each other's "
            "states; give --storage-path, a folder that all nodes share, or an s3:// or gs:// URL"
        )
    slots = resources.plan(nodes, machine.gpus_per_trial, machine.cpus_per_trial, machine.max_concurrent)
    return _Ready(
        dataset,
        {**dataset.digests(), "train": len(train.labels), "validation": len(validation.labels)},
        nodes,
        slots,
        {"data": has_data - began, "start_up": time.perf_counter() - has_data},
    )


def lock(run_dir: Path) -> FileLock:
    """Held until the process ends, however it ends: the system lets go of it.

    Raises:
        UsageError: another process has it, or it cannot be made.
    """
    held = FileLock(run_dir / ".lock", blocking=False)
    try:
        held.acquire()
    except Timeout:
        raise UsageError(f"another process works on {run_dir}; wait for its end, or stop it") from None
    except OSError as error:
        raise UsageError(f"nothing can be written to {run_dir}: {error.strerror}") from None
    return held


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"run {run_dir} exists already; give another --name or --runs-dir") from None
    except OSError as error:
        raise UsageError(f"run {run_dir} cannot be made: {error.strerror}; give another --runs-dir") from None
    if not os.access(run_dir, os.W_OK):
        raise UsageError(f"nothing can be written to {run_dir}; give another --runs-dir")


def run_phases(
    program: str, opened: RunContext, interruption: Interruption, parts: Mapping[str, Callable[[], None]]
) -> int:
    """Runs the named parts in order, notes the wall time of each and how it all ended.

    Returns:
        The exit code: 0, 1 where the study failed, or 128 + the signal that stopped it.
    """
    study = opened.study
    how_to_go_on = f"; go on with: python -m {program} --resume {shlex.quote(str(opened.run_dir))}"
    try:
        with interruption.on_signals():
            for part, do in parts.items():
                if interruption.signal_number is None:
                    with timed(study, part):
                        do()
    except (StudyFailed, OSError) as error:
        study.update(status="failed", reason=str(error), ended=now())
        print(f"{program}: {error}; what was finished is in {opened.run_dir}{how_to_go_on}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        interruption.reason = "SIGINT"
    if interruption.signal_number is not None:
        study.update(status="stopped", reason=interruption.reason, ended=now())
        said = f"stopped by {interruption.reason}; all finished epochs are in {opened.run_dir}"
        print(f"{program}: {said}{how_to_go_on}", file=sys.stderr)
        return 128 + interruption.signal_number
    study.update(status="finished", ended=now())
    return 0


def copied(program: str, opened: RunContext, code: int) -> int:
    """The exit code in the end: `code`, or 1 where the store's copy of the run is not up to date."""
    opened.folder.copy()
    if opened.folder.behind is None:
        return code
    again = f"python -m {program} --resume {shlex.quote(str(opened.run_dir))}"
    why = f"the copy in the store is behind: {opened.folder.behind}"
    print(f"{program}: {why}; all is in {opened.run_dir}; copy it with: {again}", file=sys.stderr)
    return code or 1


@contextmanager
def timed(study: StudyFile, part: str) -> Iterator[None]:
    """Adds the wall time spent inside to `part` of study.json."""
    started = time.perf_counter()
    try:
        yield
    finally:
        study.add_seconds(part, time.perf_counter() - started)


def wall_time(content: Mapping[str, Any]) -> str:
    """How long a run took, part by part, and on what."""
    parts = ", ".join(f"{part.replace('_', ' ')} {seconds:.0f} s" for part, seconds in content["seconds"].items())
    hardware, versions = content["hardware"], content["versions"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("torch", "ray", "optuna"))
    total = sum(content["seconds"].values()) / 60
    return f"Took {total:.1f} min ({parts}) on {hardware['cpus']} x {hardware['cpu']}, {libraries}."


def as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The command line's values as study.json keeps them and gives them back."""
    values: dict[str, Any] = json.loads(json.dumps(dict(arguments), default=str))
    return values
