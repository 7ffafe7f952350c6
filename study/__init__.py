"""Hyperparameter studies of image classifiers whose numbers stand up.

    import study

    run = study.tune("cnn", samples=20)
    run.trials, run.verdict, run.best_recipe

Names are imported when they are first used, so that `import study` stays light.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.api import load_winner, replay, reproduce, resume, train, tune
    from study.data import Dataset
    from study.errors import StudyError, StudyFailed, StudyInterrupted
    from study.recipe import Recipe

__all__ = [
    "Dataset",
    "Recipe",
    "StudyError",
    "StudyFailed",
    "StudyInterrupted",
    "load_winner",
    "replay",
    "reproduce",
    "resume",
    "train",
    "tune",
]

DISTRIBUTION = "imagestudy"
_HOME = {
    "Dataset": "study.data",
    "Recipe": "study.recipe",
    "StudyError": "study.errors",
    "StudyFailed": "study.errors",
    "StudyInterrupted": "study.errors",
    "load_winner": "study.api",
    "replay": "study.api",
    "reproduce": "study.api",
    "resume": "study.api",
    "train": "study.api",
    "tune": "study.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    found = getattr(import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def installed_version() -> str:
    """The version of the installed distribution; "(not installed)" where the code runs from a checkout."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "(not installed)"
