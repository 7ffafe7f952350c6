"""What may vary. A space is a function from an Optuna trial to the Recipe fields it sets:

    def space(trial):
        return {"lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True), "flip": "random"}

What it draws it names after the Recipe field. Declarative: neither Ray nor torch is known here.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_spaces.cnn import cnn
from search_spaces.sgd import sgd

Space = Callable[[Any], dict[str, Any]]

SPACES: dict[str, Space] = {"sgd": sgd, "cnn": cnn}


class SpaceError(ValueError):
    """A space that cannot be found or used. The message is one line for the user."""


def load(name: str) -> Space:
    """The space called `name`, or the function at "file.py:function" or "package.module:function".

    Raises:
        SpaceError: none is there, or its file fails on import.
    """
    if name in SPACES:
        return SPACES[name]
    where, colon, function = name.rpartition(":")
    if not colon:
        known = ", ".join(SPACES)
        raise SpaceError(f"space {name!r} is unknown; allowed: {known}, file.py:function or package.module:function")
    try:
        module = _module_in_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:
        raise SpaceError(f"space {name!r}: {where} cannot be imported: {type(error).__name__}: {error}") from None
    space = getattr(module, function, None)
    if not callable(space):
        raise SpaceError(f"space {name!r}: {where} has no function {function!r}")
    return space  # type: ignore[no-any-return]


def knobs(space: Space, draws: int = 200) -> dict[str, Any]:
    """Everything that `space` can draw: name -> Optuna distribution, found by drawing `draws` times at random."""
    import optuna

    found: dict[str, Any] = {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(draws):
        trial = study.ask()
        space(trial)
        found.update(trial.distributions)
    return found


def _module_in_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError("no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
