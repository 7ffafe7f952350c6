"""One encoded image of any kind to a uint8 array of one size.

Every image becomes [height, width, channels]: turned upright as its EXIF says, the first frame of an animation, CMYK
and palettes converted to RGB, transparent pixels over white, of 16 bits the upper 8. Where it is not of the wanted size
it is scaled, with antialiasing, until it covers it, and cropped at its centre. A file is read by its content, not its
name.

Imports nothing but Pillow and NumPy, so that the processes that decode start fast; `study.data.sources.decode` starts
them.
"""

import io
import os
import signal
import stat
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SCALING = Image.Resampling.BILINEAR  # with antialiasing, as torchvision's Resize by default
GREY_MODES = {"1", "L", "LA", "La", "I", "F"}


class Source(Protocol):
    """One encoded image; it can be pickled.

    Attributes:
        name: for messages; a path where it has one.
    """

    @property
    def name(self) -> str: ...

    def read(self) -> bytes:
        """The encoded image. Raises OSError."""
        ...


@dataclass(frozen=True)
class FileSource:
    """An image file, as it was when its folder was read.

    The path is a text, as a Path takes longer to send to another process than a small file to be read.

    Attributes:
        name: its path as the user knows it.
        size, modified: bytes, and nanoseconds since 1970; None: it was not there.
    """

    path: str
    name: str
    size: int | None
    modified: int | None

    @classmethod
    def of(cls, path: Path, name: str) -> "FileSource":
        try:
            found = path.stat()
            return cls(str(path), name, found.st_size, found.st_mtime_ns)
        except OSError:
            return cls(str(path), name, None, None)

    def read(self) -> bytes:
        try:
            kind = os.stat(self.path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise OSError("no such file") from None
        # A pipe or a device would wait for ever.
        if not stat.S_ISREG(kind):
            raise OSError("not a file")
        with open(self.path, "rb", buffering=0) as opened:
            content = opened.read()
            found = os.fstat(opened.fileno())
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            raise OSError("changed while it was read")
        return content


@dataclass(frozen=True)
class BytesSource:
    """An encoded image in memory."""

    name: str
    content: bytes | None

    def read(self) -> bytes:
        if self.content is None:
            raise OSError("the row has no image bytes")
        return self.content


@dataclass(frozen=True)
class Target:
    """What every image is made to be, in pixels; channels 1 is grey, 3 RGB."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One image.

    Attributes:
        pixels: uint8 [height, width, channels].
        size: its original height and width, upright.
        grey: whether it has no colours of its own.
        treatments: the special ones.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    grey: bool
    treatments: list[str]


@dataclass(eq=False)
class DecodedBatch:
    """Some sources, decoded.

    Attributes:
        digests: SHA-256 of each one's content, 32 bytes each, one after another.
        kept: whether each could be read.
        sizes: the least original height and width, and the greatest; empty where none could be read.
        grey: whether none that could be read has colours.
        unreadable: name and reason of each that could not be read.
        treatments: the names of the images that had each special treatment.
    """

    digests: bytes = b""
    kept: list[bool] = field(default_factory=list)
    sizes: tuple[tuple[int, int], ...] = ()
    grey: bool = True
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    treatments: dict[str, list[str]] = field(default_factory=dict)


class _Unreadable(Exception):
    """Why an image is left out."""


def start_process() -> None:
    """For a process that only decodes: Ctrl-C is its parent's, which stops it, and Pillow's warnings are nobody's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")


def decode_batch(sources: Sequence[Source], target: Target, file: Path, first: int) -> DecodedBatch:
    """Decodes some sources, in order, and writes them to a file that is there, so that no other process has to.

    Args:
        file: of images one after another, uint8 [height, width, channels]; one that cannot be read is black.
        first: the place in `file` of the first of these sources; 0 is its beginning.

    Raises:
        OSError: `file` cannot be written.
    """
    batch = DecodedBatch()
    digests: list[bytes] = []
    pixels: list[bytes | memoryview] = []
    sizes: list[tuple[int, int]] = []
    for source in sources:
        content = b""
        try:
            content = source.read()
            image = decode_image(content, target, os.path.splitext(source.name)[1])
        except (OSError, ValueError) as error:
            batch.unreadable.append((source.name, _reason(error)))
            batch.kept.append(False)
            pixels.append(bytes(target.height * target.width * target.channels))
        else:
            pixels.append(image.pixels.data)
            sizes.append(image.size)
            batch.kept.append(True)
            batch.grey = batch.grey and image.grey
            for treatment in image.treatments:
                batch.treatments.setdefault(treatment, []).append(source.name)
        digests.append(sha256(content).digest())
    with file.open("r+b") as opened:
        opened.seek(first * target.height * target.width * target.channels)
        opened.write(b"".join(pixels))
    batch.digests, batch.sizes = b"".join(digests), extremes(sizes)
    return batch


def extremes(sizes: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The least of the heights and of the widths, and the greatest; empty where there are none."""
    columns = list(zip(*sizes, strict=True))
    if not columns:
        return ()
    heights, widths = columns
    return (min(heights), min(widths)), (max(heights), max(widths))


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
        grey = is_grey(opened)
        opened.load()
        image, treatments = _upright(opened)
        size = image.height, image.width
        mode = "L" if target.channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (target.width, target.height):
            image = ImageOps.fit(image, (target.width, target.height), SCALING)
    except Exception as error:
        raise ValueError(_reason(error)) from None
    pixels = np.asarray(image).reshape(target.height, target.width, target.channels)
    return DecodedImage(pixels, size, grey, treatments)


def is_grey(opened: Image.Image) -> bool:
    """Whether an image, as it is opened, has no colours."""
    return opened.mode in GREY_MODES or opened.mode.startswith("I;16")


def _is_misnamed(format: str | None, suffix: str) -> bool:
    # The format's own module is loaded, and all of Pillow's others, which takes a while, only where it does not know.
    if format is not None and Image.EXTENSION.get(suffix.lower()) == format:
        return False
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
