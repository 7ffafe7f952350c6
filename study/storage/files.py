"""Files that are written atomically: a reader sees the old file or the new one, never half of it."""

import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its place at `path` when the block ends without an error."""
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Removes temporary files of `path` that a killed process left behind."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        process = leftover.suffix[1:]
        if process.isdigit() and int(process) != os.getpid() and not _is_alive(int(process)):
            leftover.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder of this process in `parent`, which is gone when the block ends.

    Those that killed processes of this machine left behind are removed first.
    """
    prefix = f".partial-{platform.node()}-"
    for leftover in parent.iterdir():
        process = leftover.name.removeprefix(prefix).partition("-")[0]
        if leftover.name.startswith(prefix) and process.isdigit() and not _is_alive(int(process)):
            shutil.rmtree(leftover, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON, atomically.

    Raises:
        ValueError: a number in it is not finite.
    """
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")


def sync_names(folder: Path) -> None:
    """Writes the names in `folder` to disk. Without it, a power cut may lose a file whose content was synced."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do not support it
                raise
        finally:
            os.close(descriptor)
