"""Image files of any kind to uint8 arrays of one size, in parallel, kept decoded in the data directory.

How one image is decoded is in `study.decoding`.
"""

import hashlib
import io
import json
import math
import os
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from multiprocessing import current_process
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from study.data.dataset import DataOptions, MappedSplit, Split
from study.decoding import (
    SCALING,
    DecodedBatch,
    Source,
    Target,
    decode_batch,
    extremes,
    is_grey,
    start_process,
)
from study.errors import DataError
from study.storage.files import scratch_folder

# Images that are all of one size are kept as they are up to this height and width, otherwise resized to the default.
LARGEST_OWN_SIZE = 96
DEFAULT_SIZE = 64
SAMPLE = 32  # images whose headers say what size and channels all images probably have
# Decoded images above this many bytes are memory-mapped; below, they are read into memory.
MAP_ABOVE = 1 << 30
VERSION = 1  # of the decoding; a change of any treatment makes another cache

TIMED = 8  # images that are decoded first, to see how long one takes
BATCH_SECONDS = 0.05  # of decoding, in one batch: short enough for Ctrl-C, long enough for what a batch costs
LARGEST_BATCH = 64
# Pillow lets go of the interpreter while it decodes and scales, so that threads are enough where that takes longer than
# the Python around it. Otherwise they only wait for each other: one is faster. Processes do not, and pay where there is
# more to do than it takes to start them.
THREADS_FROM = 0.001  # seconds an image
PROCESSES_FROM = 2.0  # seconds for all images
PROCESSES_FROM_THREADS = 10.0  # the same where threads are nearly as fast
IDLE = 30  # seconds after which a process without work ends, so that none outlives a parent that was killed


class Sources(Sized, Iterable[Source], Protocol):
    """Encoded images in order, iterated as often as need be."""

    def fingerprint(self) -> str:
        """Changes when an image does; cheap, such as a digest of names, sizes and times of modification."""
        ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """All images of some sources.

    Attributes:
        file: uint8, the images one after another, in order.
        shape: (N, height, width, channels).
        kept: bool, one a source, whether it could be read.
        unreadable: name and reason of each that could not.
        treatments: the names of the images that had each special treatment.
        sizes: the least original height and width, and the greatest; empty where no image could be read.
    """

    file: Path
    shape: tuple[int, int, int, int]
    kept: NDArray[np.bool_]
    unreadable: tuple[tuple[str, str], ...]
    treatments: dict[str, list[str]]
    sizes: tuple[tuple[int, int], ...]


def choose_target(sources: Iterable[Source], options: DataOptions) -> Target:
    """The size and channels for images: grey if all are grey; their own size if they share one of at most 96.

    Only headers are read. Sources that cannot be read do not count.
    """
    found = [header for source in sources if (header := _read_header(source)) is not None]
    sizes = extremes((height, width) for height, width, _ in found)
    return _fitting(sizes, all(grey for _, _, grey in found), options)


def _fitting(sizes: tuple[tuple[int, int], ...], grey: bool, options: DataOptions) -> Target:
    """For images whose least and greatest height and width are `sizes`."""
    channels = 1 if grey else 3
    if options.image_size is not None:
        return Target(options.image_size, options.image_size, channels)
    if len(set(sizes)) == 1 and max(sizes[0]) <= LARGEST_OWN_SIZE:
        return Target(*sizes[0], channels)
    return Target(DEFAULT_SIZE, DEFAULT_SIZE, channels)


def _read_header(source: Source) -> tuple[int, int, bool] | None:
    """Height, width and whether it is grey; None if it cannot be read."""
    try:
        with Image.open(io.BytesIO(source.read())) as image:
            width, height = image.size
            # Only where it changes the target, as Pillow decodes a PNG to find that it has no EXIF.
            if height != width and max(image.size) <= LARGEST_OWN_SIZE and image.getexif().get(0x0112, 1) >= 5:
                width, height = height, width  # turned by 90 degrees
            return height, width, is_grey(image)
    except Exception:
        # Damage is reported, with its reason, when the image is decoded.
        return None


def decode(sources: Sources, options: DataOptions, target: Target | None = None) -> Decoded:
    """Decodes all sources, or finds them decoded in the data directory, under the digest of their content and size.

    What a source's content is, is looked up under its fingerprint, so that unchanged files are not read again.

    Args:
        target: None finds one that fits all of these sources.

    Raises:
        DataError: none can be read, or the data directory cannot be written.
    """
    cache = options.cache_dir / "decoded"
    asked = {"version": VERSION, "image_size": options.image_size, "target": None if target is None else asdict(target)}
    index = cache / f"{_short_digest(asked, sources.fingerprint())}.json"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        found = _find(index)
        if found is None:
            with scratch_folder(cache) as scratch:
                if target is None:
                    target, made = _decode_all(scratch / "images", sources, options)
                else:
                    made = _decode_into(scratch / "images", sources, target)
                meta = {"target": asdict(target), **made.meta}
                images = f"{_short_digest({'version': VERSION, 'target': meta['target']}, made.content)}.images"
                (scratch / "index.json").write_text(json.dumps({"images": images, **meta}))
                os.replace(scratch / "images", cache / images)
                os.replace(scratch / "index.json", index)
            found = _find(index)
    except OSError as error:
        raise DataError(f"decoded images cannot be kept in {cache}: {error.strerror or error}") from None
    if found is None:
        raise DataError(f"decoded images in {cache} were changed while they were written; start again")
    return found


def _find(index: Path) -> Decoded | None:
    """What `index` names, if it is there and complete."""
    try:
        meta = json.loads(index.read_text())
        file, target = index.parent / meta["images"], Target(**meta["target"])
        kept = np.array(meta["kept"], bool)
        shape = (int(kept.sum()), target.height, target.width, target.channels)
        if file.stat().st_size != math.prod(shape):
            return None
        unreadable = tuple((name, reason) for name, reason in meta["unreadable"])
        sizes = tuple((height, width) for height, width in meta["sizes"])
        return Decoded(file, shape, kept, unreadable, meta["treatments"], sizes)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _decode_all(file: Path, sources: Sources, options: DataOptions) -> tuple[Target, "_Found"]:
    """As `_decode_into`, in the size and channels that fit all images that can be read.

    Those of the first few are taken, so that each file is read once. Where the others are different, all are decoded a
    second time.
    """
    target = choose_target(islice(sources, SAMPLE), options)
    found = _decode_into(file, sources, target)
    if not found.sizes:
        name, reason = found.meta["unreadable"][0]
        raise DataError(f"none of the training images can be read; the first is {shown(name)} ({reason})")
    fitting = _fitting(found.sizes, found.grey, options)
    return fitting, found if fitting == target else _decode_into(file, sources, fitting)


@dataclass(frozen=True, eq=False)
class _Found:
    """What some sources were: the digest of all content, sizes and colours as in DecodedBatch, what `_find` reads."""

    content: str
    sizes: tuple[tuple[int, int], ...]
    grey: bool
    meta: dict[str, Any]


def _decode_into(file: Path, sources: Sources, target: Target) -> _Found:
    """Writes the decoded images to `file`."""
    content = hashlib.sha256()
    kept: list[bool] = []
    unreadable: list[tuple[str, str]] = []
    treatments = defaultdict[str, list[str]](list)
    sizes: tuple[tuple[int, int], ...] = ()
    grey = True
    file.write_bytes(b"")
    with closing(_in_parallel(sources, target, file)) as batches:
        for batch in batches:
            content.update(batch.digests)
            kept += batch.kept
            unreadable += batch.unreadable
            sizes = extremes((*sizes, *batch.sizes))
            grey = grey and batch.grey
            for treatment, names in batch.treatments.items():
                treatments[treatment] += names
    if unreadable:
        _close_gaps(file, kept)
    meta = {"kept": kept, "unreadable": unreadable, "treatments": treatments, "sizes": sizes}
    return _Found(content.hexdigest(), sizes, grey, meta)


def _close_gaps(file: Path, kept: Sequence[bool]) -> None:
    """Removes the images that are not kept."""
    size = file.stat().st_size // len(kept)
    images = np.memmap(file, np.uint8, "r+", shape=(len(kept), size))
    for place, number in enumerate(np.flatnonzero(kept)):
        images[place] = images[number]
    del images  # unmapped before it is made shorter
    os.truncate(file, sum(kept) * size)


def _in_parallel(sources: Sources, target: Target, file: Path) -> Generator[DecodedBatch, None, None]:
    """What became of the sources, in order; their images are written to `file`.

    Only a few batches are under way at once, so that not all images are in memory. A progress bar is shown on a
    terminal.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar,
        warnings.catch_warnings(),
    ):
        # Pillow warns of odd metadata and of large images; images too large to be honest it refuses.
        warnings.simplefilter("ignore")
        task = bar.add_task("decoding", total=len(sources))
        remaining = iter(sources)
        Image.init()  # Pillow's modules, which take longer to load than an image
        began = time.perf_counter()
        first = decode_batch(list(islice(remaining, TIMED)), target, file, 0)
        seconds = (time.perf_counter() - began) / max(len(first.kept), 1)
        yield first
        bar.advance(task, TIMED)
        if len(first.kept) < TIMED:
            return
        size = max(1, min(LARGEST_BATCH, int(BATCH_SECONDS / seconds)))
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with _start_pool(workers, seconds, len(sources)) as pool:
            waiting = deque[Future[DecodedBatch]]()
            number = TIMED
            while batch := list(islice(remaining, size)):
                waiting.append(pool.submit(decode_batch, batch, target, file, number))
                number += len(batch)
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
                    bar.advance(task, size)
            while waiting:
                yield waiting.popleft().result()
                bar.advance(task, size)


@contextmanager
def _start_pool(workers: int, seconds: float, images: int) -> Iterator[Executor]:
    """Processes, threads, or one thread where neither would pay, to decode so many images of `seconds` each.

    They are stopped at once if the user, or an error, ends the decoding.
    """
    threads = workers if seconds > THREADS_FROM else 1
    worthwhile = seconds * images > (PROCESSES_FROM if threads == 1 else PROCESSES_FROM_THREADS)
    # A process that multiprocessing made a daemon may not start any.
    if workers > 1 and worthwhile and not current_process().daemon:
        # Processes of loky, as those of the standard library run the user's script again, which may have no guard.
        from joblib.externals.loky import ProcessPoolExecutor

        pool = ProcessPoolExecutor(workers, initializer=start_process, env={"OMP_NUM_THREADS": "1"}, timeout=IDLE)
        stop = partial(pool.shutdown, kill_workers=True)
    else:
        pool = ThreadPoolExecutor(threads)
        stop = partial(pool.shutdown, cancel_futures=True)
    try:
        yield pool
    except BrokenExecutor:
        stop()
        raise DataError(
            "a process that decodes images was killed, perhaps for its use of memory; start again"
        ) from None
    except BaseException:
        stop()
        raise
    pool.shutdown()


def load_images(decoded: Decoded, labels: NDArray[np.int64]) -> Split:
    """The decoded images with `labels` of all sources; memory-mapped above MAP_ABOVE, so that trainings share them."""
    own = labels[decoded.kept]
    if math.prod(decoded.shape) > MAP_ABOVE:
        return MappedSplit.open(decoded.file, decoded.shape, own)
    try:
        return Split(np.fromfile(decoded.file, np.uint8).reshape(decoded.shape), own)
    except (OSError, ValueError):
        raise DataError(f"{decoded.file} is truncated; delete it to have it made anew") from None


def resized(split: Split, size: int) -> Split:
    """Images that are arrays already, scaled and cropped like files to size x size."""
    grey = split.images.shape[3] == 1
    images = np.empty((len(split.images), size, size, split.images.shape[3]), np.uint8)
    for number, image in enumerate(split.images):
        fitted = ImageOps.fit(Image.fromarray(image[:, :, 0] if grey else image), (size, size), SCALING)
        images[number] = np.asarray(fitted).reshape(size, size, -1)
    return Split(images, split.labels)


def shown(name: str) -> str:
    """A file's name as it can be printed on one line, whatever it has in it; a very long one loses its middle."""
    printable = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in name)
    return printable if len(printable) <= 120 else f"{printable[:60]}...{printable[-57:]}"


def _short_digest(asked: Mapping[str, Any], content: str) -> str:
    return hashlib.sha256(f"{json.dumps(asked, sort_keys=True)} {content}".encode()).hexdigest()[:32]
