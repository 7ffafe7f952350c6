"""Image files of any kind to uint8 arrays of one size, in parallel, kept decoded in the data directory.

Every image becomes [height, width, channels]: turned upright as its EXIF says, the first frame of an animation, CMYK
and palettes converted to RGB, transparent pixels over white, of 16 bits the upper 8. Where it is not of the wanted size
it is scaled, with antialiasing, until it covers it, and cropped at its centre. A file is read by its content, not its
name.
"""

import hashlib
import io
import json
import math
import os
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from study.data.dataset import DataOptions, MappedSplit, Split
from study.errors import DataError
from study.storage.files import scratch_folder

# Images that are all of one size are kept as they are up to this height and width, otherwise resized to the default.
LARGEST_OWN_SIZE = 96
DEFAULT_SIZE = 64
# Decoded images above this many bytes are memory-mapped; below, they are read into memory.
MAP_ABOVE = 1 << 30
SCALING = Image.Resampling.BILINEAR  # with antialiasing, as torchvision's Resize by default
BATCH = 32  # images that a thread decodes at a time
VERSION = 1  # of the decoding; a change of any treatment makes another cache
GREY_MODES = {"1", "L", "LA", "La", "I", "F"}

R = TypeVar("R")


class Source(Protocol):
    """One encoded image.

    Attributes:
        name: for messages; a path where it has one.
    """

    @property
    def name(self) -> str: ...

    def read(self) -> bytes:
        """The encoded image. Raises OSError."""
        ...


class Sources(Sized, Iterable[Source], Protocol):
    """Encoded images in order, iterated as often as need be."""

    def fingerprint(self) -> str:
        """Changes when an image does; cheap, such as a digest of names, sizes and times of modification."""
        ...


@dataclass(frozen=True)
class Target:
    """What every image is made to be, in pixels; channels 1 is grey, 3 RGB."""

    height: int
    width: int
    channels: int


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


class _Unreadable(Exception):
    """Why an image is left out."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One image, uint8 [height, width, channels], its original height and width, and its special treatments."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    treatments: list[str]


def decode_image(content: bytes, target: Target, suffix: str = "") -> DecodedImage:
    """Decodes one image.

    Args:
        suffix: of the file's name, such as .png; reported where the content is of another format.

    Raises:
        ValueError: it is damaged, or of a kind that has no defined treatment; the message is the reason.
    """
    try:
        opened = Image.open(io.BytesIO(content))
    except Exception as error:
        # Damaged files make Pillow's decoders raise nearly anything: OSError, SyntaxError, struct.error, zlib.error.
        raise ValueError(_reason(error)) from None
    with opened:
        decoded = convert_image(opened, target)
        if _is_misnamed(opened.format, suffix):
            decoded.treatments.append("named as another format: read by the content")
        return decoded


def convert_image(opened: Image.Image, target: Target) -> DecodedImage:
    """As `decode_image`, of an image that is open already."""
    try:
        opened.load()
        image, treatments = _upright(opened)
        size = image.height, image.width
        image = image.convert("L" if target.channels == 1 else "RGB")
        if image.size != (target.width, target.height):
            image = ImageOps.fit(image, (target.width, target.height), SCALING)
    except Exception as error:
        raise ValueError(_reason(error)) from None
    return DecodedImage(np.asarray(image).reshape(target.height, target.width, target.channels), size, treatments)


def _is_misnamed(format: str | None, suffix: str) -> bool:
    expected = Image.registered_extensions().get(suffix.lower())
    # MPO is what many cameras' .jpg are: JPEG with a second picture behind.
    return expected is not None and expected != ("JPEG" if format == "MPO" else format)


def _upright(opened: Image.Image) -> tuple[Image.Image, list[str]]:
    """In a mode that converts to L or RGB without surprise, and the names of the treatments."""
    image, treatments = opened, []
    if getattr(image, "n_frames", 1) > 1:
        treatments.append("animated: the first frame is taken")
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
        treatments.append("turned upright as its EXIF orientation says")
    if image.mode.startswith("I"):
        image = _upper_byte(image)
        treatments.append("16-bit: the upper 8 bits are taken")
    elif image.mode == "F":
        raise _Unreadable("its pixels are floating-point numbers, whose range is not known")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        treatments.append(f"{image.mode}: converted to RGB")
    elif image.mode in ("P", "PA"):
        treatments.append("palette: converted to RGB")
    if image.has_transparency_data:
        grey = image.mode in ("L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        white = Image.new("L" if grey else "RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
        treatments.append("transparent: laid over white")
    return image, treatments


def _upper_byte(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    if pixels.size and (pixels.min() < 0 or pixels.max() > 0xFFFF):
        raise _Unreadable("its pixels are 32-bit integers, whose range is not known")
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image, or of a format that Pillow does not know"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def choose_target(sources: Sources, options: DataOptions) -> Target:
    """The size and channels for all images: grey if all are grey; their own size if they share one of at most 96.

    Only headers are read. Sources that cannot be read do not count.

    Raises:
        DataError: none can be read.
    """
    found = Counter(each for batch in _in_parallel(_probe_batch, sources, "headers") for each in batch if each)
    if not found:
        raise DataError("none of the training images can be read")
    channels = 1 if all(grey for _, _, grey in found) else 3
    sizes = {(height, width) for height, width, _ in found}
    if options.image_size is not None:
        return Target(options.image_size, options.image_size, channels)
    if len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST_OWN_SIZE:
        return Target(*next(iter(sizes)), channels)
    return Target(DEFAULT_SIZE, DEFAULT_SIZE, channels)


def _probe_batch(sources: Iterable[Source]) -> list[tuple[int, int, bool] | None]:
    return [_probe(source) for source in sources]


def _probe(source: Source) -> tuple[int, int, bool] | None:
    """Height, width and whether it is grey; None if it cannot be read."""
    try:
        with Image.open(io.BytesIO(source.read())) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # turned by 90 degrees
                width, height = height, width
            return height, width, image.mode in GREY_MODES or image.mode.startswith("I;16")
    except Exception:
        # Damage is reported, with its reason, when the image is decoded.
        return None


def decode(sources: Sources, options: DataOptions, target: Target | None = None) -> Decoded:
    """Decodes all sources, or finds them decoded in the data directory, under the digest of their content and size.

    What a source's content is, is looked up under its fingerprint, so that unchanged files are not read again.

    Args:
        target: None lets `choose_target` find one for these sources.

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
            target = target or choose_target(sources, options)
            with scratch_folder(cache) as scratch:
                content, meta = _decode_into(scratch / "images", sources, target)
                images = f"{_short_digest({'version': VERSION, 'target': asdict(target)}, content)}.images"
                (scratch / "index.json").write_text(json.dumps({"images": images, "target": asdict(target), **meta}))
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


def _decode_into(file: Path, sources: Sources, target: Target) -> tuple[str, dict[str, Any]]:
    """Writes the decoded images to `file`; returns the digest of all content, and what `_find` reads again."""
    content = hashlib.sha256()
    kept: list[bool] = []
    unreadable: list[tuple[str, str]] = []
    treatments = defaultdict[str, list[str]](list)
    sizes: list[tuple[int, int]] = []
    with file.open("wb") as opened:
        for batch in _in_parallel(partial(_decode_batch, target=target), sources, "decoding"):
            for one in batch:
                content.update(one.digest)
                kept.append(one.image is not None)
                if one.image is None:
                    unreadable.append((one.name, one.reason))
                    continue
                opened.write(one.image.pixels.data)
                for treatment in one.image.treatments:
                    treatments[treatment].append(one.name)
                heights, widths = zip(one.image.size, *sizes, strict=True)
                sizes = [(min(heights), min(widths)), (max(heights), max(widths))]
    found = {"kept": kept, "unreadable": unreadable, "treatments": treatments, "sizes": sizes}
    return content.hexdigest(), found


@dataclass(frozen=True, eq=False)
class _One:
    """One source: SHA-256 of its content, its image or the reason why there is none."""

    name: str
    digest: bytes
    image: DecodedImage | None
    reason: str


def _decode_batch(sources: Sequence[Source], target: Target) -> list[_One]:
    return [_decode_one(source, target) for source in sources]


def _decode_one(source: Source, target: Target) -> _One:
    content = b""
    try:
        content = source.read()
        image = decode_image(content, target, os.path.splitext(source.name)[1])
    except (OSError, ValueError) as error:
        return _One(source.name, hashlib.sha256(content).digest(), None, _reason(error))
    return _One(source.name, hashlib.sha256(content).digest(), image, "")


def _in_parallel(function: Callable[[list[Source]], R], sources: Sources, title: str) -> Iterator[R]:
    """The results for the sources in batches, in order, by as many threads as there are processors.

    Threads, as Pillow lets go of the interpreter while it decodes and scales. Only a few batches are under way at once,
    so that not all images are in memory. A progress bar is shown on a terminal.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with (
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar,
        ThreadPoolExecutor(workers) as pool,
        warnings.catch_warnings(),
    ):
        # Pillow warns of odd metadata and of large images; images too large to be honest it refuses.
        warnings.simplefilter("ignore")
        task = bar.add_task(title, total=len(sources))
        waiting = deque[Future[R]]()
        remaining = iter(sources)
        while batch := list(islice(remaining, BATCH)):
            waiting.append(pool.submit(function, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
                bar.advance(task, BATCH)
        while waiting:
            yield waiting.popleft().result()


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
