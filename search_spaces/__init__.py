"""What may vary. A space is a function from an Optuna trial to the Recipe fields that it sets:

    def space(trial):
        return {"lr": trial.suggest_float("lr", 1e-3, 0.1, log=True)}

It may draw under any names and return fields that it derives from what it draws (docs/search-spaces.md). `python -m
search_spaces` lists the spaces that are here. Nothing in this package knows torch, Ray or the study.
"""

import difflib

from search_spaces import architectures, augmentation, baseline, cnn, cnn_wide, fast, full, optimizers, sgd
from search_spaces.distributions import contains, in_words
from search_spaces.loading import FORMS, LoadError, load_object, source_files
from search_spaces.priors import PRIORS, Prior, priors_of, with_priors
from search_spaces.space import (
    Choose,
    Draw,
    Fields,
    Space,
    SpaceError,
    SpaceTrial,
    check,
    configurations,
    draw,
    draw_known,
    draw_with,
    draws,
    hyperparameters,
    register,
)

__all__ = [
    "PRIORS",
    "SPACES",
    "Choose",
    "Draw",
    "Fields",
    "LoadError",
    "Prior",
    "Space",
    "SpaceError",
    "SpaceTrial",
    "check",
    "configurations",
    "contains",
    "draw",
    "draw_known",
    "draw_with",
    "draws",
    "hyperparameters",
    "in_words",
    "load",
    "load_object",
    "priors_of",
    "register",
    "source_files",
    "with_priors",
]

SPACES: dict[str, Space] = {
    "baseline": baseline.space,
    "sgd": sgd.space,
    "cnn": cnn.space,
    "cnn-wide": cnn_wide.space,
    "optimizers": optimizers.space,
    "augmentation": augmentation.space,
    "architectures": architectures.space,
    "fast": fast.space,
    "full": full.space,
}


def load(space: str | Space) -> Space:
    """The space itself, or the one that a name means.

    Args:
        space: a name in SPACES, `file.py:function`, `package.module:function`, or a function.

    Raises:
        SpaceError: no such name, file, module or function, or an error while it is imported.
    """
    if not isinstance(space, str):
        found: object = space
    elif space in SPACES:
        return SPACES[space]
    elif ":" not in space:
        near = difflib.get_close_matches(space, SPACES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SpaceError(f"space {space!r} is unknown; allowed: {', '.join(SPACES)}, {FORMS}{hint}")
    else:
        try:
            found = load_object(space, "space")
        except LoadError as error:
            raise SpaceError(str(error)) from error
    if not callable(found):
        raise SpaceError(f"space {space!r} is {type(found).__name__}; allowed: a function of an Optuna trial")
    return found
