"""Where workers keep checkpoints and finished networks: a folder that all nodes share, or an s3:// or gs:// URL.

A Folder is a folder of a run as the driver has it, with its Store. The driver's own folder is the source of truth;
where the two are different places, the store gets a copy of its files while the study runs.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pyarrow import fs

from results.events import Event, TrialEnded, TrialPaused
from study.errors import StoreError
from study.storage.files import atomic_write

SECONDS_BETWEEN_COPIES = 5.0
# Not copied: Ray's own files, checkpoints, networks that wait for their evaluation, and SQLite's journals.
NOT_COPIED = re.compile(r"(.*/)?(ray|checkpoints)/.*|(.*/)?\d+\.pt|(.*/)?\..*|.*\.db-(journal|wal|shm)")


@dataclass(frozen=True)
class Store:
    """Files by name, such as checkpoints/3.pt, below one place. It can be pickled and used in any process.

    Args:
        location: an absolute folder, or a URL as pyarrow.fs.FileSystem.from_uri takes it, options included:
            s3://bucket/path?endpoint_override=host:port&scheme=http.
    """

    location: str

    @property
    def folder(self) -> Path | None:
        """Where the store is on this machine; None for a URL."""
        return None if "://" in self.location else Path(self.location)

    def below(self, name: str) -> "Store":
        place, mark, options = self.location.partition("?")
        return Store(f"{place.rstrip('/')}/{name}{mark}{options}")

    def above(self) -> tuple["Store", str]:
        """The store that this one is below of, and its name there."""
        place, mark, options = self.location.partition("?")
        parent, _, name = place.rstrip("/").rpartition("/")
        return Store(f"{parent}{mark}{options}"), name

    def read(self, name: str) -> bytes | None:
        """The file's content, or None where there is none.

        Raises:
            OSError: it cannot be read.
            StoreError: the store does not answer.
        """
        with suppress(FileNotFoundError):
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            with self._answering() as (system, path), system.open_input_stream(f"{path}/{name}") as file:
                return bytes(file.read())
        return None

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Atomic: a folder's file is renamed into its place, an object appears when its upload ends.

        Raises:
            OSError: the disk is full or gone.
            StoreError: the store does not answer.
        """
        if self.folder is not None:
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(place) as file:
                file.write(content)
            return
        with self._answering() as (system, path), system.open_output_stream(f"{path}/{name}") as stream:
            stream.write(content)

    def delete(self, name: str) -> None:
        """Removes the file, if there is one.

        Raises:
            StoreError: the store does not answer.
        """
        if self.folder is not None:
            (self.folder / name).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError), self._answering() as (system, path):
            system.delete_file(f"{path}/{name}")

    def names(self) -> list[str]:
        """Of all files.

        Raises:
            StoreError: the store does not answer.
        """
        with self._answering() as (system, path):
            found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        return sorted(each.path[len(path) :].lstrip("/") for each in found if each.type == fs.FileType.File)

    @contextmanager
    def _answering(self) -> Iterator[tuple[fs.FileSystem, str]]:
        """pyarrow's file system and the path in it; what it raises, other than for a missing file, is a StoreError."""
        try:
            yield _system(self.location)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.location.partition('?')[0]}: {' '.join(str(error).split())}") from error


@lru_cache(maxsize=64)
def _system(location: str) -> tuple[fs.FileSystem, str]:
    """Once for each process, as S3 is asked for the bucket's region each time."""
    system, path = fs.FileSystem.from_uri(location)
    return system, path


class Folder:
    """A folder of a run, or the run's directory itself, and the store that belongs to it.

    Args:
        path: on the driver's disk.
        store: None for the folder itself.

    Attributes:
        behind: why the last copy into the store failed; None where it did not, or where none is needed.
    """

    def __init__(self, path: Path, store: Store | None = None) -> None:
        here = Store(str(path.resolve()))
        self.path, self.store = path, store or here
        self.behind: str | None = None
        self._is_copied = self.store != here
        self._copied: dict[str, tuple[int, int]] = {}
        self._last_copy = -SECONDS_BETWEEN_COPIES

    def below(self, name: str) -> "Folder":
        return Folder(self.path / name, self.store.below(name))

    def copy(self) -> None:
        """Copies what has changed since the last time; a store that does not answer is tried again at the next."""
        if not self._is_copied:
            return
        for path in sorted(self.path.rglob("*")):
            name = str(path.relative_to(self.path))
            if NOT_COPIED.fullmatch(name) or not path.is_file():
                continue
            try:
                status = path.stat()
                if self._copied.get(name) == (state := (status.st_mtime_ns, status.st_size)):
                    continue
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # gone since it was listed
            try:
                self.store.write(name, content)
            except OSError as error:
                self.behind = str(error)
                return
            self._copied[name] = state
        self.behind = None

    def after_event(self, event: Event) -> None:
        """Copies when a training was paused or has ended, but not more often than every five seconds."""
        due = time.monotonic() - self._last_copy >= SECONDS_BETWEEN_COPIES
        if self._is_copied and due and isinstance(event, TrialPaused | TrialEnded):
            self.copy()
            self._last_copy = time.monotonic()


def fetch(store: Store, path: Path) -> None:
    """Copies a run's files from its store into `path`, which must not exist; all of them or none.

    Raises:
        StoreError: the store does not answer.
        FileNotFoundError: there is no run in the store.
    """
    names = [name for name in store.names() if not NOT_COPIED.fullmatch(name)]
    if "study.json" not in names:
        raise FileNotFoundError(f"{store.location.partition('?')[0]} holds no run")
    temporary = path.with_name(f".{path.name}.fetched")
    shutil.rmtree(temporary, ignore_errors=True)
    here = Store(str(temporary.resolve()))
    for name in names:
        here.write(name, store.read(name) or b"")
    temporary.rename(path)
