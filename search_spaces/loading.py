"""Loads an object that a user names on the command line: a space, a network, a trainer, a metric, a dataset.

    load_object("mine.py:space", "space")
    load_object("package.module:Net", "network")

A file is loaded as `python mine.py` would load it: its module is in sys.modules and its folder is on sys.path, also
later, when a function of it imports something.
"""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

# A user's module of one of these names would hide ours.
OUR_PACKAGES = ("search_spaces", "study", "results")
LIBRARIES = ("site-packages", "dist-packages")
FORMS = "file.py:name or package.module:name"

# Files that are loaded: path -> (digest of its source files, its module).
_loaded: dict[Path, tuple[str, ModuleType]] = {}


class LoadError(ValueError):
    """Something that a user named and that cannot be loaded. One line for the user."""


def load_object(reference: str, kind: str) -> Any:
    """What `reference` names. A file that has not changed since it was loaded is not executed again.

    Args:
        reference: `file.py:name`, relative to the current directory or absolute, or `package.module:name`.
        kind: what it is to the user, such as "space" or "network"; error messages begin with it.

    Raises:
        LoadError: no such file, module or name, or an error while it is imported; one line with file and line number.
    """
    place, name = _parts(reference, kind)
    try:
        module = _from_file(_existing(place)) if place.endswith(".py") else _from_package(place)
    except (Exception, SystemExit) as error:
        raise LoadError(f"{kind} {reference!r}: {_in_one_line(error)}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        near = difflib.get_close_matches(name, vars(module), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise LoadError(f"{kind} {reference!r}: {place} has no {name!r}{hint}") from None


def source_files(reference: str, kind: str = "object") -> list[Path]:
    """The file that `reference` names, and then the modules of its own folder that it imports, sorted.

    Imports are read from the source, so those inside functions count as well, and nothing of a file is executed. Data
    files and modules that are imported by a computed name are not found.

    Raises:
        LoadError: no such file or module, or source that does not compile.
    """
    place, _ = _parts(reference, kind)
    try:
        path, root = _place_of(place)
        return [path, *_neighbours(path, root).values()]
    except (Exception, SystemExit) as error:
        raise LoadError(f"{kind} {reference!r}: {_in_one_line(error)}") from error


def one_line(text: object) -> str:
    """`text` without line breaks, so that an error message stays one line."""
    return " ".join(str(text).split())


def where(error: BaseException) -> str:
    """`file.py, line 3`: the innermost line outside libraries that led to `error`; empty where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(Path(error.filename))}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_file()]
    if not frames:
        return ""
    frame = ([frame for frame in frames if _is_a_users(Path(frame.filename))] or frames)[-1]
    return f"{_short(Path(frame.filename))}, line {frame.lineno}"


def _parts(reference: str, kind: str) -> tuple[str, str]:
    place, colon, name = reference.rpartition(":")
    if not (colon and place and name.isidentifier()):
        hint = f"; name what to load from it, as in {reference}:NAME" if reference.endswith(".py") else ""
        raise LoadError(f"{kind} {reference!r} is unknown; allowed: {FORMS}{hint}")
    return place, name


def _existing(place: str) -> Path:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise LoadError(f"there is no file {place}")
    return path


def _place_of(place: str) -> tuple[Path, Path]:
    """The file that `place` means, and the folder in which its imports are looked up."""
    if place.endswith(".py"):
        path = _existing(place)
        return path, path.parent
    _look_in_current_directory()
    spec = importlib.util.find_spec(place)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise LoadError(f"there is no Python file of the module {place}")
    path = Path(spec.origin).resolve()
    root = path.parents[place.count(".") + (path.name == "__init__.py")]
    # Libraries lie side by side; what a library imports is no neighbour.
    return path, path.parent if root.name in LIBRARIES else root


def _from_package(place: str) -> ModuleType:
    _look_in_current_directory()
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise LoadError(f"there is no module {error.name}") from None
        raise


def _look_in_current_directory() -> None:
    """As `python -m` does; an installed command has no current directory on its path."""
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))


def _from_file(path: Path) -> ModuleType:
    neighbours = _neighbours(path, path.parent)
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in (path, *neighbours.values()))).hexdigest()
    if path in _loaded and _loaded[path][0] == digest:
        return _loaded[path][1]
    _refuse_hidden_packages(path)
    folder = str(path.parent)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    for name, file in neighbours.items():
        _forget(name, file)
    module = _execute(path)
    _loaded[path] = (digest, module)
    return module


def _execute(path: Path) -> ModuleType:
    name = path.stem
    before = sys.modules.get(name)
    if name in sys.stdlib_module_names or (before is not None and _file(before) != path):
        name = f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _forget(name: str, file: Path) -> None:
    """Makes the next import of the neighbour `name` read `file`, also if it changed or another folder had such a name.

    Raises:
        LoadError: a library that is in use has the name.
    """
    module = sys.modules.get(name)
    if module is None:
        return
    known, folders = _file(module), {path.parent for path in _loaded}
    if known != file and not (known and folders & {*known.parents}):
        raise LoadError(f"{_short(file)} has the name of a module that is in use, {name}; rename the file")
    del sys.modules[name]


def _refuse_hidden_packages(path: Path) -> None:
    ours = Path(__file__).resolve().parent.parent
    for name in OUR_PACKAGES:
        for file in (path.parent / f"{name}.py", path.parent / name / "__init__.py"):
            if file.is_file() and path.parent != ours:
                raise LoadError(f"{_short(file)} beside it hides a package of this suite; rename it")


def _neighbours(path: Path, folder: Path) -> dict[str, Path]:
    """Modules below `folder` that `path` imports, directly or through each other: name -> file, sorted."""
    found: dict[str, Path] = {}
    waiting = [path]
    while waiting:
        for name in _imported_names(waiting.pop(), folder):
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                place = folder.joinpath(*parts[:depth])
                for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
                    if file.is_file() and file != path and file not in found.values():
                        found[".".join(parts[:depth])] = file
                        waiting.append(file)
    return dict(sorted(found.items()))


def _imported_names(file: Path, folder: Path) -> set[str]:
    """Every `a.b` that the import statements of `file` may mean, without this suite's own packages.

    Raises:
        SyntaxError: its source does not compile.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(folder).parts[: -node.level] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            found |= {base, *(f"{base}.{each.name}".lstrip(".") for each in node.names)} - {""}
    return {name for name in found if name.partition(".")[0] not in OUR_PACKAGES}


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, LoadError):
        return str(error)
    place = where(error)
    said = error.msg if isinstance(error, SyntaxError) else error
    return f"{type(error).__name__}: {one_line(said)}" + (f" ({place})" if place else "")


def _is_a_users(file: Path) -> bool:
    libraries = {Path(traceback.__file__).parent, Path(__file__).resolve().parent}
    return not (set(LIBRARIES) & set(file.parts) or libraries & set(file.resolve().parents))


def _short(file: Path) -> str:
    """Relative to the current directory where the file is below it."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
