"""Augmentation of whole batches, one random draw per image, no loop over images.

Flips and shifts only move pixels, so they are arithmetic on the index with which a batch is gathered from the split;
AUGMENTATIONS act on the gathered float batch, blends on images and labels. In order: gather, augmentations on pixels,
normalisation, augmentations on normalised images, blend. What is drawn is drawn on the CPU, so that a seed gives the
same images on each device.

`python docs/augmentations.py` draws each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from study.recipe import Recipe


@dataclass(frozen=True)
class Augmentation:
    """A change of each image of a batch, with a strength of which 0 means off.

    Attributes:
        function: (images [B, C, H, W], strength > 0) -> float32 images of the same shape, drawing from torch's global
            generator, best of the CPU. Pixels are uint8 or float32 in [0, 255]; normalised images are float32 about 0.
        on: what it acts on.
    """

    function: Callable[[Tensor, float], Tensor]
    on: Literal["pixels", "normalized"]


def gather(pixels: Tensor, index: Tensor, recipe: Recipe, epoch: int) -> Tensor:
    """The images at `index`, flipped and shifted as `recipe` says. As many of its batches at once give the same images
    as one after the other.

    Args:
        pixels: uint8 [N, H, W, C], contiguous.
        index: int64 [B], into the first axis.
        epoch: from 1; the alternating flip changes side with its parity.

    Returns:
        uint8 [B, C, H, W] in channels-last memory.
    """
    if recipe.flip == "none" and recipe.translate == 0:
        return pixels.index_select(0, index).permute(0, 3, 1, 2)
    _, height, width, channels = pixels.shape
    down, right, coins = _drawn(len(index), recipe, index.device)
    rows, columns = _shifted(down, height), _shifted(right, width)
    columns = torch.where(FLIPS[recipe.flip](index, coins, epoch), width - 1 - columns, columns)
    flat = ((index[:, None] * height + rows)[:, :, None] * width + columns[:, None, :]).view(-1)
    return pixels.view(-1, channels).index_select(0, flat).view(-1, height, width, channels).permute(0, 3, 1, 2)


def _drawn(number: int, recipe: Recipe, device: torch.device) -> list[Tensor]:
    """For each of `number` images, in batches of the recipe's size: the shifts downwards and to the right, int64
    [number, 1], and, where the recipe flips at random, a coin, float32 [number, 1]."""
    largest, size, batches = recipe.translate, recipe.batch_size, []
    for first in range(0, number, size):
        shape = (min(size, number - first), 1)
        shifts = [torch.randint(-largest, largest + 1, shape) for _ in range(2)]
        batches.append([*shifts, torch.rand(shape) if recipe.flip == "random" else torch.empty(shape)])
    drawn = batches[0] if len(batches) == 1 else [torch.cat(each) for each in zip(*batches, strict=True)]
    return [each.to(device, non_blocking=True) for each in drawn]


def _shifted(shift: Tensor, side: int) -> Tensor:
    """Source coordinate of each target coordinate, int64 [B, side], for one shift an image; edges reflected."""
    coordinate = (torch.arange(side, device=shift.device) + shift).abs()
    return side - 1 - (side - 1 - coordinate).abs()


def _never(index: Tensor, coins: Tensor, epoch: int) -> Tensor:
    return torch.zeros(len(index), 1, dtype=torch.bool, device=index.device)


def _at_random(index: Tensor, coins: Tensor, epoch: int) -> Tensor:
    return coins < 0.5


def _alternating(index: Tensor, coins: Tensor, epoch: int) -> Tensor:
    """Each image is mirrored in every second epoch, a pseudo-random half of them in the odd ones, so that any two
    epochs in a row show both sides of every image (Jordan 2024, arXiv:2404.00498, section 3.6)."""
    # Bit 16 of Knuth's multiplicative hash: a fixed coin per image, without a table of them.
    coin = (index * 2654435761 >> 16) & 1
    return ((coin + epoch) % 2 == 0)[:, None]


# (index int64 [B], coins float32 [B, 1] uniform in [0, 1), epoch) -> which images to mirror, bool [B, 1]
FLIPS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "none": _never,
    "random": _at_random,
    "alternating": _alternating,
}


def draws_in_each_step(recipe: Recipe) -> bool:
    """Whether something is drawn for a batch after it was gathered, so that the next one cannot be gathered before."""
    return recipe.mixup > 0 or recipe.cutmix > 0 or any(recipe.strength(name) > 0 for name in AUGMENTATIONS)


def augment(images: Tensor, recipe: Recipe, on: Literal["pixels", "normalized"]) -> Tensor:
    """The batch [B, C, H, W] after every augmentation of that kind to which `recipe` gives a strength."""
    for name, augmentation in AUGMENTATIONS.items():
        if augmentation.on == on and (strength := recipe.strength(name)) > 0:
            images = augmentation.function(images, strength)
    return images


def jitter(pixels: Tensor, strength: float) -> Tensor:
    """Pixels [B, C, H, W] of either dtype, with brightness, contrast and saturation of each image changed in turn.

    Each is multiplied by a factor of its own, uniform in 1 +- `strength`: brightness scales the pixels, contrast
    their distance from the image's mean grey, saturation their distance from their own grey (a grey image has none).
    As ColorJitter of torchvision does, except for its random order; clamped once, at the end.

    Returns:
        float32 in [0, 255].
    """
    factors = 1 + strength * (2 * torch.rand(3, len(pixels), 1, 1, 1).to(pixels.device, non_blocking=True) - 1)
    images = pixels * factors[0]
    images = torch.lerp(_grey(images).mean((2, 3), keepdim=True), images, factors[1])
    images = torch.lerp(_grey(images), images, factors[2])
    return images.clamp_(0, 255)


def _grey(images: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, [B, 1, H, W]."""
    if images.shape[1] == 1:
        return images
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]


def cutout(images: Tensor, strength: float) -> Tensor:
    """Cutout on a normalised float batch [B, C, H, W]; a square of `strength` pixels a side becomes 0, the mean.

    The centre is uniform over the image, so that a square may reach over its edge (DeVries & Taylor 2017,
    arXiv:1708.04552).
    """
    side = torch.full((len(images), 1, 1, 1), int(strength), device=images.device)
    return images.masked_fill(_inside_rectangle(side, side, images), 0)


# Name -> augmentation, applied in this order. Its strength is the Recipe's field of that name, or for one that was
# added from outside the option `augmentation.<name>`.
AUGMENTATIONS: dict[str, Augmentation] = {
    "jitter": Augmentation(jitter, on="pixels"),
    "cutout": Augmentation(cutout, on="normalized"),
}


def blend(images: Tensor, labels: Tensor, recipe: Recipe, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mixup or CutMix of a float batch [B, C, H, W] with its neighbours in the batch, which is in random order.

    Mixup (Zhang et al. 2018, arXiv:1710.09412) adds share x image + (1 - share) x neighbour. CutMix (Yun et al. 2019,
    arXiv:1905.04899) puts a rectangle of the neighbour, of the image's proportions and 1 - share of its area before the
    edge cuts it, into the image. The share is drawn for each image from Beta(alpha, alpha). Where the recipe has both,
    a coin per batch decides.

    Returns:
        The images, and their targets: float32 [B, num_classes], each image's share of its own label and of its
        neighbour's; or `labels` itself, int64 [B], where the recipe has neither.
    """
    if recipe.mixup == 0 and recipe.cutmix == 0:
        return images, labels
    cut = recipe.cutmix > 0 and (recipe.mixup == 0 or torch.rand(()).item() < 0.5)
    alpha = torch.tensor(recipe.cutmix if cut else recipe.mixup)
    share = torch.distributions.Beta(alpha, alpha).sample((len(images), 1, 1, 1)).to(images.device, non_blocking=True)
    neighbours = images.roll(1, 0)
    if cut:
        height, width = ((side * (1 - share).sqrt()).round() for side in images.shape[2:])
        inside = _inside_rectangle(height, width, images)
        images = torch.where(inside, neighbours, images)
        share = 1 - inside.float().mean((2, 3), keepdim=True)
    else:
        images = torch.lerp(neighbours, images, share)
    own = F.one_hot(labels, num_classes).float()
    return images, torch.lerp(own.roll(1, 0), own, share.view(-1, 1))


def _inside_rectangle(height: Tensor, width: Tensor, images: Tensor) -> Tensor:
    """One rectangle of each `height` and `width`, [B, 1, 1, 1], about a centre anywhere in the image: bool
    [B, 1, H, W]."""
    inside = []
    for side, of_image in ((height, images.shape[2]), (width, images.shape[3])):
        coordinate = torch.arange(of_image, device=images.device)
        start = torch.randint(0, of_image, side.shape).to(images.device, non_blocking=True) - side // 2
        inside.append((coordinate >= start) & (coordinate < start + side))
    return inside[0].transpose(2, 3) & inside[1]
