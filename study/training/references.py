"""Networks and trainers of a user's own, by reference or as the object itself.

A Recipe has scalars only, so it names an object that was passed from Python `python:NAME`. That object, and what a
driver has sent of the user's files, is looked up in OBJECTS before anything is loaded.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from search_spaces.loading import LoadError, load_object, one_line, where
from study.errors import ModelError, StudyError

# Reference -> the object, in this process.
OBJECTS: dict[str, Any] = {}
# Reference in a recipe -> where its code is now, for a resumed run whose file has moved or is gone. Recipes keep the
# name that the run began with, so that all trials have one name for one network.
LOCATIONS: dict[str, str] = {}


def reference_of(value: Any) -> str:
    """The name of `value` in a Recipe: the string itself, or `python:NAME` for a class or function, now in OBJECTS."""
    if isinstance(value, str):
        return value
    reference = f"python:{value.__name__}"
    OBJECTS[reference] = value
    return reference


def resolve(reference: str, kind: str) -> Any:
    """The class or function that `reference` names.

    Args:
        reference: `file.py:name`, `package.module:name`, or `python:NAME` for an object that was passed from Python.
        kind: "network" or "trainer", for the error message.

    Raises:
        ModelError: it cannot be loaded, or cannot be called.
    """
    found = OBJECTS.get(reference)
    if found is None and reference.startswith("python:"):
        raise ModelError(f"{kind} {reference!r} was passed from Python, so it must be passed again")
    if found is None:
        try:
            found = load_object(LOCATIONS.get(reference, reference), kind)
        except LoadError as error:
            raise ModelError(str(error)) from None
    if not callable(found):
        raise ModelError(f"{kind} {reference!r} is {type(found).__name__}; allowed: a class or a function")
    return found


def call_with_named(function: Any, what: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Calls a user's class or function with the arguments that its signature names.

    Args:
        what: its kind and reference, for error messages.
        given: what the suite offers; only those that are named are passed.
        options: the recipe's `model.<name>`; each of them must be named.

    Raises:
        ModelError: an option that the signature does not name, an argument that nothing sets, or an error in the call.
    """
    parameters = inspect.signature(function).parameters
    named = [name for name, each in parameters.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for name in options:
        if name in given or (name not in named and not takes_any):
            own = ", ".join(f"model.{each}" for each in named if each not in given) or "none"
            raise ModelError(f"{what} has no hyperparameter model.{name}; allowed: {own}")
    arguments = {name: value for name, value in given.items() if name in named} | dict(options)
    for name in named:
        if name not in arguments and parameters[name].default is inspect.Parameter.empty:
            offered = ", ".join(given)
            raise ModelError(
                f"{what} needs model.{name}, which nothing sets; draw it in the space, fix it, or give it a default "
                f"(without model. are: {offered})"
            )
    try:
        return function(**arguments)
    except StudyError:
        raise
    except Exception as error:
        place = f" ({where(error)})" if where(error) else ""
        raise ModelError(f"{what} raised {type(error).__name__}: {one_line(error)}{place}") from error
