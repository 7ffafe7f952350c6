"""How a run begins and ends, whatever it does in between: directory, data, Ray, study.json; status and exit code."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import SpaceError
from study import data, final, resources
from study.data import DataError, Dataset, Split
from study.models import WeightsError
from study.recipe import RecipeError
from study.record import StudyFile, now, surroundings
from study.resources import ResourceError, Slots
from study.tuning import Interruption, StudyFailed, start_ray


class UsageError(Exception):
    """A command line that cannot be carried out. The message is one line for the user."""


@dataclass(frozen=True)
class Opened:
    """A run that has begun: its directory, its study.json, all training images, and what each training may take."""

    run_dir: Path
    study: StudyFile
    training: Split
    slots: Slots


@contextmanager
def refusing(program: str) -> Iterator[None]:
    """Inside, a mistake that the user can mend ends in its own words and exit code 2."""
    try:
        yield
    except (UsageError, SpaceError, DataError, RecipeError, ResourceError, WeightsError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: stopped by SIGINT", file=sys.stderr)
        sys.exit(130)


def open_run(
    run_dir: Path,
    data_dir: Path,
    dataset: Dataset,
    gpus_per_trial: float | None,
    cpus_per_trial: float | None,
    max_concurrent: int | None,
    say: Callable[[str], None],
    asked: Mapping[str, Any],
) -> Opened:
    """Makes the run's directory, has the data, starts Ray, and writes study.json.

    Args:
        asked: what only the caller knows of study.json: kind, command, arguments, space, knobs, ...

    Raises:
        UsageError, ResourceError, DataError: with no trace left of the run.
    """
    started = time.perf_counter()
    for flag, amount in (("gpus", gpus_per_trial), ("cpus", cpus_per_trial)):
        if amount is not None:
            resources.check_fraction(f"--{flag}-per-trial", amount)
    _make(run_dir)
    try:
        before_data = time.perf_counter()
        data.prepare(data_dir, dataset, say)
        training = data.load_training(data_dir, dataset)
        final.check_test_file(data_dir, dataset)
        train, validation = data.split(training)
        digests = {"digest": data.digest(training), "split_digest": data.digest(train, validation)}
        after_data = time.perf_counter()
        nodes = start_ray()
        slots = resources.plan(nodes, gpus_per_trial, cpus_per_trial, max_concurrent)
    except BaseException:
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
        "slots": slots.count,
        "dataset": dataset,
        "data": {**digests, "train": len(train.labels), "validation": len(validation.labels)},
        **surroundings(nodes),
        "seconds": {
            "data": after_data - before_data,
            "start_up": before_data - started + time.perf_counter() - after_data,
        },
        "test_openings": [],
    }
    return Opened(run_dir, StudyFile(run_dir / "study.json", content), training, slots)


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"run {run_dir} exists already; give another --name or --runs-dir") from None
    except OSError as error:
        raise UsageError(f"run {run_dir} cannot be made: {error.strerror}; give another --runs-dir") from None
    if not os.access(run_dir, os.W_OK):
        raise UsageError(f"nothing can be written to {run_dir}; give another --runs-dir")


def carry_out(program: str, opened: Opened, interruption: Interruption, parts: Mapping[str, Callable[[], None]]) -> int:
    """Runs the named parts in order, notes the wall time of each and how it all ended.

    Returns:
        The exit code: 0, 1 where the study failed, or 128 + the signal that stopped it.
    """
    study = opened.study
    try:
        with interruption.on_signals():
            for part, do in parts.items():
                if interruption.signal_number is None:
                    with timed(study, part):
                        do()
    except (StudyFailed, OSError) as error:
        study.update(status="failed", reason=str(error), ended=now())
        print(f"{program}: {error}; what was finished is in {opened.run_dir}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        interruption.reason = "SIGINT"
    if interruption.signal_number is not None:
        study.update(status="stopped", reason=interruption.reason, ended=now())
        print(
            f"{program}: stopped by {interruption.reason}; all finished epochs are in {opened.run_dir}", file=sys.stderr
        )
        return 128 + interruption.signal_number
    study.update(status="finished", ended=now())
    return 0


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
    """The command line's values as study.json keeps them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}


def final_seeds(seed: int, count: int) -> Sequence[int]:
    """The seeds of the final trainings: the same for both sides, and none that a trial has."""
    from study.searcher import derived_seed

    return [derived_seed(seed, 1_000_000 + index) for index in range(count)]
