"""Pictures of many small images: one row for each class, or for each pair."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from study.errors import DataError

TILE, GAP, LETTER = 64, 2, 6  # pixels
LONGEST_TITLE = 26  # letters


def write(path: Path, rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]]) -> None:
    """Writes a PNG with a title and then images, uint8 [H, W, C] of any size, in each row.

    Raises:
        DataError: the file cannot be written.
    """
    columns = max((len(images) for _, images in rows), default=0)
    left = 8 + LETTER * min(LONGEST_TITLE, max((len(title) for title, _ in rows), default=0))
    sheet = Image.new("RGB", (left + columns * (TILE + GAP), max(1, len(rows)) * (TILE + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, images) in enumerate(rows):
        top = row * (TILE + GAP)
        draw.text((4, top + TILE // 2 - 6), title[:LONGEST_TITLE], fill="black")
        for column, image in enumerate(images):
            tile = Image.fromarray(image.squeeze()).convert("RGB")
            tile.thumbnail((TILE, TILE))
            # Small images are enlarged pixel by pixel, so that they look as they are.
            tile = tile.resize(_enlarged(tile.size), Image.Resampling.NEAREST)
            sheet.paste(tile, (left + column * (TILE + GAP), top))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from None


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    factor = max(1, TILE // max(size))
    return size[0] * factor, size[1] * factor
