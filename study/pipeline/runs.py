"""Runs by name: finding one, the recipe that it found, and the settings with which it is resumed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import results
from study.config import Config, extra_of, key_of, validate
from study.errors import StudyError, UsageError
from study.recipe import RECIPES, Recipe, load_recipe
from study.storage.store import Store, fetch
from study.storage.study_file import StudyFile


def find_run(run: str | Path, runs_dir: Path) -> Path:
    """The directory of a run: a path, a name below `runs_dir`, "latest", or the URL of a copy in a store.

    A copy in a store is fetched into `runs_dir` first.

    Raises:
        UsageError: there is no such run.
        StoreError: the store does not answer.
    """
    text = str(run)
    if "://" in text:
        return _fetch(Store(text), runs_dir)
    if text == "latest":
        try:
            return results.find_run(text, runs_dir)
        except results.RunError as error:
            raise UsageError(str(error)) from None
    path = Path(text)
    return runs_dir / text if not path.exists() and (runs_dir / text).is_dir() else path


def _fetch(store: Store, runs_dir: Path) -> Path:
    _, name = store.above()
    run_dir = runs_dir / name
    if run_dir.exists():
        raise UsageError(
            f"{run_dir} exists here and is newer than its copy; give --resume {run_dir}, or another --runs-dir"
        )
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        fetch(store, run_dir)
    except FileNotFoundError as error:
        raise UsageError(f"--resume: {error}") from None
    return run_dir


def find_recipe(recipe: str, runs_dir: Path) -> Recipe:
    """A recipe by its name, or from a JSON file, or the best one of a run.

    Raises:
        RecipeError: it is none of these.
        UsageError: there is no such run.
    """
    if recipe in RECIPES or Path(recipe).is_file():
        return load_recipe(recipe)
    if recipe == "latest" or "://" in recipe or Path(recipe).is_dir() or (runs_dir / recipe / "study.json").exists():
        return load_recipe(str(find_run(recipe, runs_dir) / "best.json"))
    return load_recipe(recipe)


def merge_resume_arguments(
    config: type[Config], run_dir: Path, given: Mapping[str, Any], spelling: Callable[[str], str]
) -> Config:
    """The settings of a resumed run.

    Args:
        config: StudyConfig or ReproduceConfig.
        given: settings that are named now.

    Raises:
        UsageError: `given` changes what the run means.
        StudyError: its study.json cannot be read.
    """
    content = StudyFile(run_dir / "study.json").content
    began = began_with(config, content)
    for name in config.model_fields:
        key, extra = key_of(config, name), extra_of(config, name)
        if key not in given:
            continue
        if extra["on_resume"] == "keep" and key not in ("runs_dir", "name"):
            wanted = validate(config, {key: given[key]}, spelling).as_json()[key]
            if wanted != began.as_json()[key]:
                was = began.as_json()[key]
                raise UsageError(
                    f"{spelling(key)} was {'not given' if was in (None, [], {}) else was} when {run_dir} began, and a "
                    "resumed study keeps its meaning"
                )
    inherited = {
        key_of(config, name): getattr(began, name)
        for name in config.model_fields
        if extra_of(config, name)["on_resume"] != "session"
    }
    place = {"runs_dir": run_dir.parent, "name": None}
    return validate(config, {**inherited, **given, **place}, spelling)


def began_with(config: type[Config], content: Mapping[str, Any]) -> Config:
    """The settings that a run began with, from its study.json; also of runs made before some settings existed.

    Settings of one session have their defaults: study.json may be somebody else's and must not say --trust-code.

    Raises:
        UsageError: study.json has settings that are not allowed.
    """
    lasting = [name for name in config.model_fields if extra_of(config, name)["on_resume"] != "session"]
    known = {key_of(config, name) for name in lasting}
    recorded = {key: value for key, value in dict(content.get("arguments") or {}).items() if key in known}
    before = {
        key_of(config, name): extra_of(config, name)["before"]
        for name in config.model_fields
        if "before" in extra_of(config, name) and key_of(config, name) not in recorded
    }
    # Until 0.1 the space "cnn" was what is called cnn-wide now.
    if recorded.get("space") == "cnn" and "scheduler" not in recorded:
        recorded["space"] = "cnn-wide"
    try:
        return validate(config, {**before, **recorded})
    except StudyError as error:
        raise UsageError(f"study.json of {content.get('name')}: {error}") from None
