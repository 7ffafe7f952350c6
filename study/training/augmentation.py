"""Augmentation of whole batches, one random draw per image, no loop over images.

Flips and shifts only move pixels, so they are arithmetic on the index with which a batch is gathered from the split;
what blends or recolours acts on the gathered float batch. In order: gather, jitter, normalisation, cutout, blend.

`python docs/augmentations.py` draws each of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from study.recipe import Recipe

SIDE, CLASSES = 32, 10


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


def jitter(pixels: Tensor, recipe: Recipe) -> Tensor:
    """Pixels [B, 3, 32, 32] of either dtype, with brightness, contrast and saturation of each image changed in turn.

    Each is multiplied by a factor of its own, uniform in 1 +- `recipe.jitter`: brightness scales the pixels, contrast
    their distance from the image's mean grey, saturation their distance from their own grey. What ColorJitter of
    torchvision does, but for its random order; clamped once, at the end.

    Returns:
        float32 in [0, 255] where the recipe has jitter, else `pixels` itself.
    """
    if recipe.jitter == 0:
        return pixels
    factors = 1 + recipe.jitter * (2 * torch.rand(3, len(pixels), 1, 1, 1, device=pixels.device) - 1)
    images = pixels * factors[0]
    images = torch.lerp(_grey(images).mean((2, 3), keepdim=True), images, factors[1])
    images = torch.lerp(_grey(images), images, factors[2])
    return images.clamp_(0, 255)


def _grey(images: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, [B, 1, 32, 32]."""
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]


def cutout_square(images: Tensor, recipe: Recipe) -> Tensor:
    """Cutout on a normalised float batch [B, 3, 32, 32]; the blanked square is 0, the mean after normalisation.

    The centre is uniform over the image, so that a square may reach over its edge (DeVries & Taylor 2017,
    arXiv:1708.04552).
    """
    if recipe.cutout > 0:
        side = torch.full((len(images), 1, 1, 1), recipe.cutout, device=images.device)
        images = images.masked_fill(_inside_square(side), 0)
    return images


def blend(images: Tensor, labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Mixup or CutMix of a float batch [B, 3, 32, 32] with its neighbours in the batch, which is in random order.

    Mixup (Zhang et al. 2018, arXiv:1710.09412) adds share x image + (1 - share) x neighbour. CutMix (Yun et al. 2019,
    arXiv:1905.04899) puts a square of the neighbour, of 1 - share of the area before the image's edge cuts it, into
    the image. The share is drawn for each image from Beta(alpha, alpha). Where the recipe has both, a coin per batch
    decides.

    Returns:
        The images, and their targets: float32 [B, 10], each image's share of its own label and of its neighbour's; or
        `labels` itself, int64 [B], where the recipe has neither.
    """
    if recipe.mixup == 0 and recipe.cutmix == 0:
        return images, labels
    cut = recipe.cutmix > 0 and (recipe.mixup == 0 or torch.rand(()).item() < 0.5)
    alpha = torch.tensor(recipe.cutmix if cut else recipe.mixup, device=images.device)
    share = torch.distributions.Beta(alpha, alpha).sample((len(images), 1, 1, 1))
    neighbours = images.roll(1, 0)
    if cut:
        inside = _inside_square((SIDE * (1 - share).sqrt()).round())
        images = torch.where(inside, neighbours, images)
        share = 1 - inside.float().mean((2, 3), keepdim=True)
    else:
        images = torch.lerp(neighbours, images, share)
    own = F.one_hot(labels, CLASSES).float()
    return images, torch.lerp(own.roll(1, 0), own, share.view(-1, 1))


def _inside_square(side: Tensor) -> Tensor:
    """One square of each `side`, float [B, 1, 1, 1], about a centre anywhere in the image: bool [B, 1, 32, 32]."""
    coordinate = torch.arange(SIDE, device=side.device)
    start = torch.randint(0, SIDE, (2, *side.shape), device=side.device) - side // 2
    inside = (coordinate >= start) & (coordinate < start + side)
    return inside[0].transpose(2, 3) & inside[1]
