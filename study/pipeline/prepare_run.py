"""How a run begins or is resumed: its directory and lock, the data, Ray, and study.json."""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import results
from study import data
from study.config import TrainingConfig
from study.data import DataOptions, Dataset, test_set
from study.data.dataset import Fold, what_changed
from study.errors import UsageError
from study.execution import cluster, resources
from study.execution.interruption import Interruption
from study.execution.resources import Slots
from study.pipeline.console import Output
from study.pipeline.make_problem import (
    adapt_to_images,
    check_own_networks,
    check_same_problem,
    problem_as_json,
    recipes_to_try,
)
from study.pipeline.run_context import RunContext
from study.pipeline.trusted_code import UserCode
from study.recipe import Recipe
from study.search.problem import SearchProblem
from study.storage.provenance import provenance
from study.storage.store import Folder, Store
from study.storage.study_file import StudyFile, now
from study.training.checks import check_recipe, check_trainer
from study.training.models import require_weights
from study.training.references import reference_of


@dataclass(frozen=True)
class Request:
    """What is asked of a run, before there is one.

    Attributes:
        program: of the command that resumes it.
        config: the settings as they were given; they are recorded.
        loaded: the same with the code that may be loaded, such as a file of the user's that has moved into the run.
        command: the command line, or a description of the call.
        content: the entries of study.json that depend on the kind of run: kind, recipes, rungs, ...
    """

    program: str
    config: TrainingConfig
    loaded: TrainingConfig
    command: list[str]
    content: Mapping[str, Any]
    output: Output
    problem: SearchProblem | None = None

    def session(self) -> dict[str, Any]:
        """The part of study.json that every session writes."""
        return {"command": self.command, "arguments": {**self.config.as_json(), "resume": None}}


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data and compute, ready for a run, and how long each took."""

    dataset: Dataset
    problem: SearchProblem | None
    nodes: list[dict[str, Any]]
    slots: Slots
    seconds: dict[str, float]

    def data(self) -> dict[str, Any]:
        """`data` of study.json."""
        train, validation = self.dataset.split()
        sizes = {"train": len(train.labels), "validation": len(validation.labels)}
        about = {
            "classes": list(self.dataset.class_names),
            "spec": asdict(self.dataset.spec),
            "notes": list(self.dataset.notes),
        }
        return {**self.dataset.digests(), **sizes, **about}


def start_run(run_dir: Path, request: Request) -> RunContext[Any]:
    """Makes the run's directory, prepares data and Ray, and writes study.json.

    Raises:
        StudyError: the run cannot begin; no trace of it is left.
    """
    check_compute(request.config)
    _make(run_dir)
    lock, folder = acquire_lock(run_dir), _folder(request.config, run_dir)
    try:
        prepared = prepare(request, folder)
        if folder.store.read("study.json") is not None:
            raise UsageError(f"--storage-path has a run {run_dir.name} already; give another --name, or --resume it")
        content = {
            "format": 1,
            "name": run_dir.name,
            **request.session(),
            **request.content,
            **({} if prepared.problem is None else problem_as_json(prepared.problem)),
            "status": "running",
            "reason": None,
            "created": now(),
            "ended": None,
            "resumed": [],
            **_compute(prepared),
            "dataset": prepared.dataset.name,
            "data": prepared.data(),
            **provenance(prepared.nodes),
            "seconds": prepared.seconds,
            "test_openings": [],
        }
        UserCode.of(request.config).record(run_dir)
        study = StudyFile(run_dir / "study.json", content, folder.copy)
    except BaseException:
        lock.release()
        _remove(run_dir)
        raise
    return _context(request, folder, study, prepared, lock)


def resume_run(run_dir: Path, request: Request) -> RunContext[Any]:
    """Continues a run, whatever ended it. What it has done so far is not touched.

    Raises:
        UsageError: another process works on the run, or the images are not those that it began with.
        StudyError: it cannot be resumed; the run stays as it was.
    """
    check_compute(request.config)
    folder = _folder(request.config, run_dir)
    study = StudyFile(run_dir / "study.json", on_change=folder.copy)
    lock = acquire_lock(run_dir)
    try:
        prepared = prepare(request, folder)
        _check_same_images(study.content["data"], prepared, run_dir)
        if prepared.problem is not None:
            check_same_problem(prepared.problem, study.content, run_dir)
    except BaseException:
        lock.release()
        raise
    session = {"time": now(), "command": request.command, **provenance(prepared.nodes)}
    study.update(
        **{name: value for name, value in {**request.session(), **request.content}.items() if name != "command"},
        status="running",
        reason=None,
        ended=None,
        resumed=[*study.content.get("resumed", []), session],
        **_compute(prepared),
    )
    for part, seconds in prepared.seconds.items():
        study.add_seconds(part, seconds)
    return _context(request, folder, study, prepared, lock)


def _context(request: Request, folder: Folder, study: StudyFile, prepared: Prepared, lock: FileLock) -> RunContext[Any]:
    return RunContext(
        program=request.program,
        config=request.loaded,
        folder=folder,
        study=study,
        dataset=prepared.dataset,
        slots=prepared.slots,
        interruption=Interruption(getattr(request.config, "time_budget", None)),
        output=request.output,
        lock=lock,
        problem=prepared.problem,
    )


def _compute(prepared: Prepared) -> dict[str, Any]:
    return {"slots": prepared.slots.count, "threads": prepared.slots.threads}


def _check_same_images(recorded: Mapping[str, Any], prepared: Prepared, run_dir: Path) -> None:
    if changed := what_changed(recorded, prepared.dataset.digests()):
        raise UsageError(f"{run_dir}: {changed}; resume it with the data that it began with, or start a new run")


def load_dataset(config: TrainingConfig, say: Callable[[str], None]) -> Dataset:
    """The data set that `config` names.

    Raises:
        DataError: it cannot be used.
    """
    options = DataOptions(
        data_dir=config.data_dir,
        image_size=config.image_size,
        skip_unreadable=config.skip_unreadable,
        validation_share=config.validation_share,
        test_share=config.test_share,
        split_seed=config.split_seed,
    )
    return data.load(config.dataset, options, say)


def dataset_of_run(run: results.Run, config: TrainingConfig, say: Callable[[str], None]) -> Dataset:
    """The data set of a run that was made before, split as it was then.

    Raises:
        DataError: it cannot be used.
        UsageError: these are not the images of the run.
    """
    dataset = load_dataset(config, say)
    if dataset.digests()["split_digest"] != run.study["data"]["split_digest"]:
        raise UsageError(
            f"the images in {config.data_dir}, or their split, are not those that {run.path} was made with"
        )
    return dataset


def check_compute(config: TrainingConfig) -> None:
    """What can be checked at once.

    Raises:
        ClusterError: nothing answers at the address.
        ResourceError: no training can have such a share.
    """
    cluster.check_answers(config.address)
    for flag, amount in (("gpus", config.gpus_per_trial), ("cpus", config.cpus_per_trial)):
        if amount is not None:
            resources.check_fraction(f"--{flag}-per-trial", amount)


def prepare(request: Request, folder: Folder) -> Prepared:
    """Loads the data, checks the recipes against the images, and starts or joins Ray.

    Raises:
        StudyError: one of them cannot be used.
    """
    config, began = request.loaded, time.perf_counter()
    dataset = load_dataset(config, request.output.say)
    test_set.check(dataset)
    if (folds := getattr(config, "folds", 1)) > 1:
        dataset.split_fold(Fold(1, folds))
    problem = None if request.problem is None else adapt_to_images(request.problem, dataset)
    recipes = [Recipe.from_dict(request.content["base"])] if problem is None else recipes_to_try(problem)
    for note in _check_own_code(config, recipes, dataset):
        request.output.say(note)
    has_data = time.perf_counter()
    nodes = cluster.start_ray(config.address)
    if config.storage_path is not None:
        cluster.check_shared(folder.store)
    elif len(nodes) > 1:
        raise UsageError(
            f"--address {config.address} is a cluster of {len(nodes)} nodes, whose trainings need each other's "
            "checkpoints; give --storage-path, a folder that all nodes share, or an s3:// or gs:// URL"
        )
    slots = resources.plan(nodes, config.gpus_per_trial, config.cpus_per_trial, config.max_concurrent)
    seconds = {"data": has_data - began, "start_up": time.perf_counter() - has_data}
    return Prepared(dataset, problem, nodes, slots, seconds)


def _check_own_code(config: TrainingConfig, recipes: Sequence[Recipe], dataset: Dataset) -> list[str]:
    """Tries the trainer, or else the networks, on images of noise; returns lines for the user."""
    if config.trainer is not None:
        notes = {check_trainer(config.trainer, recipe, dataset.spec) for recipe in recipes}
        return [f"Trainer {reference_of(config.trainer)} {note}" for note in notes if note]
    for recipe in recipes:
        check_recipe(recipe, dataset.spec)
        require_weights(recipe)
    return check_own_networks(recipes, dataset.spec)


def _folder(config: TrainingConfig, run_dir: Path) -> Folder:
    """The run directory, and its place below --storage-path."""
    return Folder(run_dir, None if config.storage_path is None else Store(config.storage_path).below(run_dir.name))


def acquire_lock(run_dir: Path) -> FileLock:
    """Held until it is released or the process ends, however it ends.

    Raises:
        UsageError: another process has it, or it cannot be made.
    """
    lock = FileLock(run_dir / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"another process works on {run_dir}; wait for its end, or stop it") from None
    except OSError as error:
        raise UsageError(f"nothing can be written to {run_dir}: {error.strerror}") from None
    return lock


def _make(run_dir: Path) -> None:
    """Makes the run's directory. One that a killed process left behind before study.json was written is reused."""
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        if not run_dir.is_dir() or not _is_left_behind(run_dir):
            raise UsageError(f"run {run_dir} exists already; give another --name, or --resume {run_dir}") from None
    except OSError as error:
        raise UsageError(f"run {run_dir} cannot be made: {error.strerror}; give another --runs-dir") from None
    if not os.access(run_dir, os.W_OK):
        raise UsageError(f"nothing can be written to {run_dir}; give another --runs-dir")


def _is_left_behind(run_dir: Path) -> bool:
    return all(path.name == ".lock" or path.name.startswith(".study.json.") for path in run_dir.iterdir())


def _remove(run_dir: Path) -> None:
    shutil.rmtree(run_dir / "code", ignore_errors=True)
    for path in run_dir.iterdir():
        if path.name == ".lock" or path.name.startswith(".study.json."):
            path.unlink(missing_ok=True)
    run_dir.rmdir()
