"""The user's own code that a study runs: which files it names, whether they may be run, and how workers get them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from study.config import Config, TrainingConfig
from study.errors import UserCodeError
from study.recipe import Recipe
from study.storage.user_code import VerifiedCode, read_sources, record_user_code, verify_user_code
from study.training.references import LOCATIONS, OBJECTS, reference_of

# Setting -> what user_code calls it.
KINDS = {"space": "space", "model": "network", "trainer": "trainer", "dataset": "dataset"}


@dataclass(frozen=True)
class UserCode:
    """Code of the user's own, by kind (space, network, trainer, dataset).

    Attributes:
        references: `file.py:name`, `package.module:name`, or `python:NAME` for an object that was passed from Python.
        objects: reference -> the object, of the latter.
    """

    references: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: TrainingConfig) -> "UserCode":
        """What the settings name."""
        references: dict[str, str] = {}
        objects: dict[str, Any] = {}
        for setting, kind in KINDS.items():
            value = getattr(config, setting, None)
            if callable(value):
                references[kind] = reference_of(value)
                objects[references[kind]] = value
            elif isinstance(value, str) and is_file(value):
                references[kind] = value
        return cls(references, objects)

    def record(self, run_dir: Path) -> None:
        """Keeps the sources in the run, signed."""
        record_user_code(run_dir, self.references, self.objects)

    def for_workers(self) -> dict[str, Any]:
        """`sources` and `objects` of a WorkerSetup: what a worker needs to load network and trainer."""
        needed = {kind: each for kind, each in self.references.items() if kind in ("network", "trainer")}
        sources = [
            replace(read_sources(LOCATIONS.get(each, each), kind, self.objects.get(each)), reference=each)
            for kind, each in needed.items()
        ]
        return {
            "sources": tuple(sources),
            "objects": {each: OBJECTS[each] for each in needed.values() if each in OBJECTS},
        }


def is_file(reference: str) -> bool:
    """Whether a setting names code in a file or module of the user's own."""
    place, colon, name = reference.rpartition(":")
    return bool(colon and place and name) and place not in ("torchvision", "timm") and "/" not in name


def is_same_code(setting: str, was: object, now: object) -> bool:
    """Whether both values of a setting name one thing of a file, which may lie elsewhere now.

    Whether the file is the same is decided by its digest, in `verified`.
    """
    if setting not in KINDS or not all(isinstance(each, str) and is_file(each) for each in (was, now)):
        return False
    return str(was).rpartition(":")[2] == str(now).rpartition(":")[2]


def verified(
    config: Config, run_dir: Path, given: Mapping[str, Any], settings: Mapping[str, str] = KINDS
) -> tuple[Config, list[str]]:
    """The settings of a resumed run with the code that may be loaded, decided without executing anything of it.

    Args:
        given: the settings that are named now; code among them is trusted, as the user has typed its name.
        settings: those of KINDS whose code is to be loaded; a replay needs no space.

    Returns:
        The settings, and lines for the user.

    Raises:
        UserCodeError: the run is somebody else's and its code was not named again, or the code has changed.
    """
    named = UserCode.of(
        config.model_copy(update={name: given.get(name) for name in KINDS if name in type(config).model_fields})
    )
    code: VerifiedCode = verify_user_code(
        run_dir,
        named.references,
        trust=config.trust_code,
        accept_changes=config.accept_changed_code,
        objects=named.objects,
        kinds=settings.values(),
    )
    changes: dict[str, Any] = {}
    for setting, kind in settings.items():
        value = getattr(config, setting, None)
        if kind in code.references and not callable(given.get(setting)):
            if kind == "network":
                LOCATIONS[str(value)] = code.references[kind]
            else:
                changes[setting] = code.references[kind]
        elif isinstance(value, str) and is_file(value) and setting not in given and kind not in code.references:
            _refuse_unsigned(config.trust_code, run_dir, setting, value)
    known = {given.get("model"), getattr(config, "model", None) if "network" in code.references else None}
    beside = str(getattr(config, "space", "")).rpartition(":")[0] if "space" in code.references else ""
    networks = recorded_networks(run_dir) if "model" in settings else set()
    for model in sorted(networks - {each for each in known if isinstance(each, str)}):
        if model.rpartition(":")[0] != beside:  # a network in the file of the space was verified with it
            _refuse_unsigned(config.trust_code, run_dir, "model", model)
    return config.model_copy(update=changes), list(code.notices)


def recorded_networks(run_dir: Path) -> set[str]:
    """The networks in files of somebody's own that recipes in a run name: in its JSON files and event logs."""
    found: set[str] = set()
    for path in [*run_dir.rglob("*.json"), *run_dir.rglob("epochs.jsonl")]:
        try:
            lines = path.read_text(errors="replace").splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            for line in lines:
                if '"model"' in line:
                    found |= set(_models(json.loads(line)))
        except (OSError, ValueError, RecursionError):
            continue  # what cannot be read cannot be resumed either, and that is said where it is read
    return {model for model in found if is_file(model)}


def _models(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        if isinstance(content.get("model"), str):
            yield content["model"]
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from _models(each)


def check_recipe_code(name: str, recipe: Recipe, config: TrainingConfig) -> Recipe:
    """`recipe`, unless it was read from a file or run called `name` and would execute a file that nobody has named.

    Raises:
        UserCodeError: it would.
    """
    if is_file(recipe.model) and getattr(config, "model", None) is None and not config.trust_code:
        named = f"--model {recipe.model} or " if "model" in type(config).model_fields else ""
        raise UserCodeError(f"recipe {name} would execute {recipe.model}; read it, then give {named}--trust-code")
    return recipe


@dataclass(frozen=True)
class Permission:
    """What the user says now about the code of a finished run.

    Attributes:
        model, trainer: the network or trainer, named or passed again; None: as the run has it.
        trust: the code that the run brings along may be executed.
        accept_changes: it may have changed since the run began.
    """

    model: Any = None
    trainer: Any = None
    trust: bool = False
    accept_changes: bool = False


def verified_network(
    run_dir: Path, model: str, trainer: str | None, permission: Permission
) -> tuple[str, str | None, list[str]]:
    """The network and trainer of a finished run that may be loaded, decided without executing anything of them.

    Its space and data set are not needed, so they may be gone.

    Args:
        model: as the recipe names it.
        trainer: as the run's settings name it.

    Returns:
        Both as they can be loaded, and lines for the user.

    Raises:
        UserCodeError: as `verified`.
    """
    recorded: dict[str, str | None] = {"network": model, "trainer": trainer}
    given = {"network": permission.model, "trainer": permission.trainer}
    named = {kind: reference_of(value) for kind, value in given.items() if value is not None}
    code = verify_user_code(
        run_dir,
        named,
        trust=permission.trust,
        accept_changes=permission.accept_changes,
        objects={reference: OBJECTS[reference] for reference in named.values() if reference in OBJECTS},
        kinds=recorded,
    )
    chosen = {kind: code.references.get(kind, named.get(kind, reference)) for kind, reference in recorded.items()}
    for kind, reference in recorded.items():
        if reference is not None and is_file(reference) and kind not in {**code.references, **named}:
            _refuse_unsigned(permission.trust, run_dir, {"network": "model"}.get(kind, kind), reference)
    return str(chosen["network"]), chosen["trainer"], list(code.notices)


def _refuse_unsigned(trusted: bool, run_dir: Path, setting: str, value: str) -> None:
    """A run made before code was signed may name any file."""
    if not trusted:
        flag = setting.replace("_", "-")
        raise UserCodeError(
            f"{run_dir} names {setting} {value} without a signature of yours; read it, then give --{flag} {value} "
            "again, or --trust-code"
        )
