"""Finds a run by its name, path or URL, and the recipe that it found."""

from pathlib import Path

import results
from study.errors import UsageError
from study.recipe import RECIPES, Recipe, load_recipe
from study.storage.store import Store, fetch


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
    # A folder of the run's name here, such as one of images, is not what is meant.
    is_here = path.is_file() or (path / "study.json").exists()
    return runs_dir / text if not is_here and (runs_dir / text).is_dir() else path


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
