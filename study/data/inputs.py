"""What a user gives to a trained network: arrays, PIL images, files and folders, as the network's uint8 images.

    items = list_images(["photo.jpg", "more/"], spec)
    images, unreadable = read_images(items[:256], spec)

Files and PIL images are converted exactly as for training, by study.decoding. Arrays are taken as they are.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.data.dataset import ImageSpec
from study.data.sources.decode import shown
from study.data.sources.folder import image_files
from study.decoding import Target, convert_image, decode_image
from study.errors import DataError

Item: TypeAlias = "Path | Image.Image | NDArray[np.uint8]"
ALLOWED = "a path, a folder, a PIL image, a uint8 array [N, H, W, C] or [H, W, C], or a list of these"


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read: its position in what was asked for, its name and the reason."""

    position: int
    name: str
    reason: str


def list_images(given: Any, spec: ImageSpec) -> list[Item]:
    """Every single image of `given`, in order; a folder's images by name, those in its folders too. None is read.

    Args:
        given: a path, a folder, a PIL image, a uint8 array [N, H, W, C] or [H, W, C] (grey ones without C as well), or
            a list of these.

    Raises:
        DataError: a path does not exist, a folder has no images, or an array is not of the network's size.
    """
    match given:
        case str() | Path():
            return list(_files(Path(given)))
        case Image.Image():
            return [given]
        case np.ndarray():
            return list(_checked(given, spec))
        case list() | tuple():
            return [item for each in given for item in list_images(each, spec)]
        case _:
            raise DataError(f"images are given as {type(given).__name__}; allowed: {ALLOWED}")


def read_images(items: Sequence[Item], spec: ImageSpec) -> tuple[NDArray[np.uint8], list[Unreadable]]:
    """The readable images, uint8 [n, H, W, C] in order, and those that are not."""
    target = Target(spec.height, spec.width, spec.channels)
    images: list[NDArray[np.uint8]] = []
    unreadable: list[Unreadable] = []
    # Pillow lets go of the interpreter while it decodes and scales.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for position, read in enumerate(pool.map(lambda item: _read(item, target), items)):
            if isinstance(read, str):
                unreadable.append(Unreadable(position, name_of(items[position]), read))
            else:
                images.append(read)
    shape = (len(images), spec.height, spec.width, spec.channels)
    return np.stack(images) if images else np.empty(shape, np.uint8), unreadable


def name_of(item: Item) -> str:
    """How an image is called in output: its path, if it has one."""
    if isinstance(item, Image.Image):
        return shown(str(getattr(item, "filename", "") or "a PIL image"))
    return shown(str(item)) if isinstance(item, Path) else "an array"


def _read(item: Item, target: Target) -> NDArray[np.uint8] | str:
    """The image, or why it cannot be read."""
    if isinstance(item, np.ndarray):
        return item
    try:
        if isinstance(item, Image.Image):
            return convert_image(item, target).pixels
        # A pipe or a device would wait for ever.
        if not item.is_file():
            return "no such file" if not item.exists() else "not a file"
        return decode_image(item.read_bytes(), target).pixels
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{shown(str(path))}: no such file or folder")
        return [path]
    try:
        found = image_files(path)
    except OSError as error:
        raise DataError(f"{shown(str(path))} cannot be read: {error.strerror}") from None
    if not found:
        raise DataError(f"folder {shown(str(path))} has no images")
    return found


def _checked(array: NDArray[Any], spec: ImageSpec) -> NDArray[np.uint8]:
    """As uint8 [N, H, W, C]."""
    if array.dtype != np.uint8:
        raise DataError(f"images are an array of {array.dtype}; allowed: uint8, from 0 to 255")
    shape = (spec.height, spec.width, spec.channels)
    batch = array
    if spec.channels == 1 and array.shape[-2:] == shape[:2]:
        batch = array[..., None]
    if batch.ndim == 3:
        batch = batch[None]
    if batch.ndim == 4 and batch.shape[1:] == shape:
        return batch
    wanted = " x ".join(map(str, shape))
    given = " x ".join(map(str, array.shape))
    channels = f"{spec.channels} channel{'s' if spec.channels > 1 else ''}"
    raise DataError(
        f"images are an array of {given}; allowed: N x {wanted} or {wanted} (the network was trained on "
        f"{spec.height} x {spec.width} pixels of {channels}); PIL images and files of any size are resized"
    )
