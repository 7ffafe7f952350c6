"""The user's own files that a run executes: space, network, trainer, data set. They are kept in the run, recognised
when it is resumed, and sent to the workers.

    record_user_code(run_dir, {"space": "mine.py:space", "network": "net.py:Net"})     # when a run begins
    code = verify_user_code(run_dir, named={})                                         # when it is resumed
    code.references["network"]                                                         # what to load

A run directory may come from somebody else, and a digest in it protects nobody, as whoever changes a file changes the
digest with it. So the record is signed with a key in the user's state directory, which is never copied elsewhere: a run
that was begun by this user on this machine resumes without questions, any other one executes nothing before the user
says so.
"""

import hashlib
import hmac
import inspect
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from platformdirs import user_state_path

from search_spaces.loading import LoadError, source_files
from study.errors import UserCodeError

FORMAT = 1
KEY_BYTES = 32
FOLDER, RECORD = "code", "code/code.json"
# The prefix of a reference to an object that was passed from Python.
PYTHON = "python:"


@dataclass(frozen=True)
class SourceFiles:
    """The source of one thing that the user named.

    Attributes:
        reference: `file.py:name` or `package.module:name` as the user wrote it, or `python:NAME`.
        main: the file that has the name, a relative path with "/"; empty for an object that was passed from Python.
        files: relative path -> content, `main` and the modules beside it that it imports.
    """

    reference: str
    main: str
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files, as a hexadecimal number."""
        found = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            found.update(f"{name}\0{len(content)}\0".encode() + content)
        return found.hexdigest()


@dataclass(frozen=True)
class VerifiedCode:
    """What a resumed run may load.

    Attributes:
        references: kind -> the reference to load: the user's file, or the copy in the run where that is gone.
        notices: messages for the user.
    """

    references: Mapping[str, str]
    notices: list[str] = field(default_factory=list)


def read_sources(reference: str, kind: str, value: Any = None) -> SourceFiles:
    """The source files of what `reference` names.

    Args:
        kind: "space", "network", "trainer" or "dataset", for error messages.
        value: the object, for a reference that starts with `python:`; its own source text is all that is known of it.

    Raises:
        LoadError: no such file, or source that does not compile.
    """
    if reference.startswith(PYTHON):
        try:
            text = inspect.getsource(value)
        except (OSError, TypeError):
            text = ""  # such as a class typed into an interactive session
        return SourceFiles(reference, "", {"source.py": text.encode()})
    paths = source_files(reference, kind)
    place = reference.rpartition(":")[0]
    root = paths[0].parent
    if not place.endswith(".py"):
        root = paths[0].parents[place.count(".") + (paths[0].name == "__init__.py")]
    inside = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if path.is_relative_to(root)}
    return SourceFiles(reference, paths[0].relative_to(root).as_posix(), inside)


def record_user_code(
    run_dir: Path, references: Mapping[str, str], objects: Mapping[str, Any] | None = None
) -> list[SourceFiles]:
    """Keeps the source of everything in `references` (kind -> reference) in the run, with a signed record of it.

    Args:
        objects: reference -> the object, for references that start with `python:`.

    Raises:
        LoadError: a file that cannot be read.
    """
    sources = {kind: read_sources(each, kind, (objects or {}).get(each)) for kind, each in references.items()}
    entries = []
    for kind, each in sources.items():
        folder = run_dir / FOLDER / kind
        for name, content in each.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        entries.append({"kind": kind, "reference": each.reference, "main": each.main, "digest": each.digest,
                        "place": str(Path.cwd()), "files": sorted(each.files)})  # fmt: skip
    if entries:
        record = {"format": FORMAT, "code": entries, "signature": _signature(entries)}
        (run_dir / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return list(sources.values())


def verify_user_code(
    run_dir: Path,
    named: Mapping[str, str] | None = None,
    *,
    trust: bool = False,
    accept_changes: bool = False,
    objects: Mapping[str, Any] | None = None,
    kinds: Iterable[str] | None = None,
) -> VerifiedCode:
    """What a run that is resumed may load, decided without executing anything of it.

    Args:
        named: kind -> reference, what the user has named again on the command line or passed from Python.
        trust: --trust-code, the code that the run brings along may be executed.
        accept_changes: --accept-changed-code, the user's file may differ from the one that the run began with.
        objects: reference -> the object, for references that start with `python:`.
        kinds: what is to be loaded, such as network and trainer; everything where it is None.

    Raises:
        UserCodeError: the run is not this user's and the code was not named again, the code has changed, or an object
            must be passed again.
    """
    entries, signed = _read_record(run_dir)
    if kinds is not None:
        wanted = set(kinds)
        entries = [entry for entry in entries if entry["kind"] in wanted]
    references: dict[str, str] = {}
    notices: list[str] = []
    for entry in entries:
        kind, reference = entry["kind"], (named or {}).get(entry["kind"])
        if reference is None:
            _refuse_unless_allowed(run_dir, entry, signed or trust)
        if reference is None and not signed:
            references[kind] = _kept(run_dir, entry)
            notices.append(f"{kind} {entry['reference']} is loaded from {references[kind]}, as --trust-code allows")
            continue
        chosen = reference or _at_its_place(entry)
        current = _digest_now(chosen, kind, (objects or {}).get(chosen))
        if current is None and reference is None:
            references[kind] = _kept(run_dir, entry)
            notices.append(f"{kind} {entry['reference']} is gone; the copy in the run is used, {references[kind]}")
        elif current == entry["digest"] or accept_changes:
            references[kind] = chosen
            if current != entry["digest"]:
                notices.append(
                    f"{kind} {chosen} has changed since the run began: results before and after differ in code"
                )
        else:
            raise UserCodeError(
                f"{kind} {chosen} has changed since {run_dir} began (SHA-256 {entry['digest'][:12]}, now "
                f"{(current or 'missing')[:12]}); restore it, or give --accept-changed-code. The original is in "
                f"{run_dir / FOLDER / kind}"
            )
    return VerifiedCode(references, notices)


def _refuse_unless_allowed(run_dir: Path, entry: Mapping[str, Any], allowed: bool) -> None:
    """Refuses code that was not named again, where it cannot be loaded or is somebody else's."""
    kind, reference = entry["kind"], entry["reference"]
    if reference.startswith(PYTHON):
        raise UserCodeError(f"{run_dir} began with a {kind} passed from Python, {reference[7:]}; pass it again")
    if not allowed:
        raise UserCodeError(
            f"{run_dir} was not begun by you on this machine and would execute {kind} {reference} "
            f"({run_dir / FOLDER / kind / entry['main']}, SHA-256 {entry['digest'][:12]}); read it, then name the "
            f"file again (--{_FLAGS[kind]} FILE:NAME) or give --trust-code"
        )


# What a setting that names code is called on the command line.
_FLAGS = {"space": "space", "network": "model", "trainer": "trainer", "dataset": "dataset", "metric": "metric"}


def install(sources: Iterable[SourceFiles]) -> dict[str, str]:
    """On a worker: writes the files below its temporary folder.

    Returns:
        The driver's reference -> one that this machine can load.
    """
    found: dict[str, str] = {}
    for each in sources:
        if each.reference.startswith(PYTHON):
            continue
        folder = Path(tempfile.gettempdir(), f"imagestudy-{os.getuid()}", each.digest[:16])
        for name, content in each.files.items():
            path = folder / name
            if path.is_file() and path.read_bytes() == content:
                continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{os.getpid()}")  # two workers of one node may write at once
            partial.write_bytes(content)
            partial.replace(path)
        found[each.reference] = f"{folder / each.main}:{each.reference.rpartition(':')[2]}"
    return found


def _read_record(run_dir: Path) -> tuple[list[dict[str, Any]], bool]:
    """The entries, and whether this user signed them; none where the run has no code of a user's own."""
    path = run_dir / RECORD
    if not path.exists():
        return [], True
    try:
        record = json.loads(path.read_text())
        entries = record["code"]
        for entry in entries:
            texts = (entry[name] for name in ("kind", "reference", "main", "digest", "place"))
            if not all(isinstance(text, str) for text in texts) or entry["kind"] not in _FLAGS:
                raise ValueError("a field is missing")
            for name in (entry["main"], *entry["files"]):
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise ValueError(f"{name} leaves the folder")
        return entries, hmac.compare_digest(str(record["signature"]), _signature(entries) or "unsigned")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserCodeError(f"{path} is damaged: {error}") from None


def _at_its_place(entry: Mapping[str, Any]) -> str:
    """The reference, relative to the folder in which the user wrote it."""
    place, _, name = entry["reference"].rpartition(":")
    return f"{Path(entry['place'], place)}:{name}" if place.endswith(".py") else entry["reference"]


def _digest_now(reference: str, kind: str, value: Any) -> str | None:
    """The digest of the user's file as it is; None where there is none."""
    try:
        return read_sources(reference, kind, value).digest
    except (LoadError, OSError):
        return None


def _kept(run_dir: Path, entry: Mapping[str, Any]) -> str:
    """A reference to the copy in the run.

    Raises:
        UserCodeError: the copy is not what was recorded.
    """
    folder = run_dir / FOLDER / entry["kind"]
    try:
        files = {name: (folder / name).read_bytes() for name in entry["files"]}
    except OSError as error:
        raise UserCodeError(f"{error.filename} is missing, and {entry['reference']} is gone") from None
    if SourceFiles(entry["reference"], entry["main"], files).digest != entry["digest"]:
        raise UserCodeError(f"{folder} was changed after the run began; name the {entry['kind']} again")
    return f"{folder / entry['main']}:{entry['reference'].rpartition(':')[2]}"


def _signature(entries: list[dict[str, Any]]) -> str | None:
    """HMAC-SHA-256 of the entries under this user's key; None where no key can be kept."""
    key = _key()
    content = json.dumps(entries, sort_keys=True).encode()
    return None if key is None else hmac.new(key, content, "sha256").hexdigest()


def _key() -> bytes | None:
    """This user's key on this machine, made at the first use; None where the state directory is not writable."""
    path = user_state_path("imagestudy") / "signing-key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
            return key if len(key) == KEY_BYTES else None
        with os.fdopen(descriptor, "wb") as file:
            key = secrets.token_bytes(KEY_BYTES)
            file.write(key)
        return key
    except OSError:
        return None
