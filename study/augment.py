"""Augmentation of whole batches, one random draw per image, no loop over images.

Flips and shifts only move pixels, so they are arithmetic on the index with which a batch is gathered from the split;
what blends or recolours acts on the gathered float batch.
"""

import torch
from torch import Tensor

from study.recipe import Recipe

SIDE = 32


def gather(pixels: Tensor, index: Tensor, recipe: Recipe, epoch: int) -> Tensor:
    """The images at `index`, flipped and shifted as `recipe` says.

    Args:
        pixels: uint8 [N, 32, 32, 3], contiguous.
        index: int64 [B], into the first axis.
        epoch: from 1; the alternating flip changes side with its parity.

    Returns:
        uint8 [B, 3, 32, 32] in channels-last memory.
    """
    if recipe.flip == "none" and recipe.translate == 0:
        return pixels.index_select(0, index).permute(0, 3, 1, 2)
    rows, columns = _shifted(recipe.translate, index), _shifted(recipe.translate, index)
    columns = torch.where(_flipped(recipe.flip, index, epoch), SIDE - 1 - columns, columns)
    flat = ((index[:, None] * SIDE + rows)[:, :, None] * SIDE + columns[:, None, :]).view(-1)
    return pixels.view(-1, 3).index_select(0, flat).view(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2)


def _shifted(largest: int, index: Tensor) -> Tensor:
    """Source coordinate of each target coordinate, int64 [B, 32]: one shift per image, edges reflected."""
    shift = torch.randint(-largest, largest + 1, (len(index), 1), device=index.device)
    coordinate = (torch.arange(SIDE, device=index.device) + shift).abs()
    return SIDE - 1 - (SIDE - 1 - coordinate).abs()


def _flipped(flip: str, index: Tensor, epoch: int) -> Tensor:
    """Which images to mirror, bool [B, 1].

    Alternating: each image is mirrored in every second epoch, a pseudo-random half of them in the odd ones, so that any
    two epochs in a row show both sides of every image (Jordan 2024, arXiv:2404.00498, section 3.6).
    """
    if flip == "random":
        return torch.rand(len(index), 1, device=index.device) < 0.5
    if flip == "alternating":
        # Bit 16 of Knuth's multiplicative hash: a fixed coin per image, without a table of them.
        coin = (index * 2654435761 >> 16) & 1
        return ((coin + epoch) % 2 == 0)[:, None]
    return torch.zeros(len(index), 1, dtype=torch.bool, device=index.device)


def recolour(images: Tensor, recipe: Recipe) -> Tensor:
    """Cutout on a normalised float batch [B, 3, 32, 32]; the blanked square is 0, the mean after normalisation.

    The centre is uniform over the image, so that a square may reach over its edge (DeVries & Taylor 2017,
    arXiv:1708.04552).
    """
    if recipe.cutout > 0:
        images = images * _outside_square(images, recipe.cutout)
    return images


def _outside_square(images: Tensor, side: int) -> Tensor:
    """1 outside and 0 inside one square per image, float [B, 1, 32, 32]."""
    batch, coordinate = len(images), torch.arange(SIDE, device=images.device)
    start = torch.randint(0, SIDE, (2, batch, 1), device=images.device) - side // 2
    inside = (coordinate >= start) & (coordinate < start + side)
    return (~(inside[0][:, :, None] & inside[1][:, None, :]))[:, None].to(images.dtype)
