"""What may vary. A space is a function from an Optuna trial to the Recipe fields that it sets:

    def space(trial):
        return {"lr": trial.suggest_float("lr", 1e-3, 0.1, log=True)}

`python -m search_spaces` lists the ones that are here. Nothing in this package knows torch, Ray or the study.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from search_spaces import architectures, augmentation, baseline, cnn, fast, full, optimizers, sgd
from search_spaces.space import Fields, Pinned, Space, SpaceError, contains, draw, draws, in_words, knobs

__all__ = [
    "SPACES",
    "Fields",
    "Pinned",
    "Space",
    "SpaceError",
    "contains",
    "draw",
    "draws",
    "in_words",
    "knobs",
    "load",
]

SPACES: dict[str, Space] = {
    "baseline": baseline.space,
    "sgd": sgd.space,
    "cnn": cnn.space,
    "optimizers": optimizers.space,
    "augmentation": augmentation.space,
    "architectures": architectures.space,
    "fast": fast.space,
    "full": full.space,
}


def load(name: str) -> Space:
    """The space called `name`: one of SPACES, `file.py:function` or `package.module:function`.

    Raises:
        SpaceError: no such name, file, module or function, or one that fails to import.
    """
    if name in SPACES:
        return SPACES[name]
    place, colon, function = name.rpartition(":")
    if not (colon and place and function):
        raise SpaceError(
            f"space {name!r} is unknown; allowed: {', '.join(SPACES)}, file.py:function or package.module:function"
        )
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except FileNotFoundError:
        raise SpaceError(f"space {name!r}: there is no file {place}") from None
    except Exception as error:
        raise SpaceError(f"space {name!r}: {place} fails to import: {type(error).__name__}: {error}") from error
    space = getattr(module, function, None)
    if not callable(space):
        raise SpaceError(f"space {name!r}: {place} has no function {function!r}")
    found: Space = space
    return found


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Its neighbours can be imported, as if it were run by itself.
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module
