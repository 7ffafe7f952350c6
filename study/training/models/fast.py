"""A small fast network after the CIFAR-10 speed records, with widths to fit a CPU.

Jordan 2024, arXiv:2404.00498 (KellerJordan/cifar10-airbench, airbench94) and hlb-CIFAR10 before it. Left out of theirs:
test-time augmentation, lookahead, and the trained bias of the first layer, for whose sake each step would compute the
gradient of the largest activations.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.dataset import ImageSpec
from study.errors import RecipeError
from study.recipe import Recipe

# airbench94: the logits are scaled down by it, so that the whole network can have one learning rate.
OUTPUT_SCALE = 1 / 9
# airbench94 gives biases of batch normalisation 64 times the learning rate, at unchanged decay. A bias that is stored
# at 1/8 of its value moves 8 times as far, from a gradient 8 times as large: the same under SGD.
BIAS_SCALE = 8.0
# airbench94's floor under the eigenvalues of the patch covariance, for images of unit variance.
WHITENING_EPS = 5e-4
# Whitening filters come in pairs of either sign, a pair for each of the 2 x 2 values of a patch.
FILTERS_A_CHANNEL = 2 * 2 * 2
MOST_FILTERS = 3 * FILTERS_A_CHANNEL


def build(recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> nn.Module:
    return Fast(recipe, spec, train_images)


def check(recipe: Recipe, spec: ImageSpec) -> None:
    """Raises RecipeError where the widths are not four, or the first one is not what whitening allows."""
    widths = [int(width) for width in recipe.channels.split("-")]
    if len(widths) != 4 or (recipe.whitening and (widths[0] % 2 or widths[0] > MOST_FILTERS)):
        raise RecipeError(
            f"Recipe field 'channels' is {recipe.channels!r}; allowed where model is 'fast': four widths, such as "
            f"'{MOST_FILTERS}-64-128-128', the first even and at most {MOST_FILTERS} with whitening"
        )


class Fast(nn.Sequential):
    """A 2 x 2 convolution, three blocks of two 3 x 3 convolutions that each halve the side, and one linear layer.

    A side of one pixel is not halved; what the blocks leave of the image is pooled to one pixel.

    Args:
        recipe: `channels` are the widths of the first layer and of the three blocks; with `whitening` the first layer
            is computed from `train_images` and stays as it is. Patches of grey images have 8 filters, and no more.
        train_images: float32 [n, C, H, W], normalised.
    """

    def __init__(self, recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> None:
        first, *blocks = map(int, recipe.channels.split("-"))
        if recipe.whitening:
            first = min(first, FILTERS_A_CHANNEL * spec.channels)
        stem = nn.Conv2d(spec.channels, first, 2, bias=False)
        if recipe.whitening:
            stem.weight = nn.Parameter(whitening_filters(train_images, first), requires_grad=False)
        layers: list[nn.Module] = [stem, nn.GELU()]
        channels, sides = first, (spec.height - 1, spec.width - 1)
        for width in blocks:
            halved = tuple(min(2, side) for side in sides)
            layers += [_convolution(channels, width), nn.MaxPool2d(halved), _Norm(width), nn.GELU()]
            layers += [_convolution(width, width), _Norm(width), nn.GELU()]
            channels, sides = width, (sides[0] // halved[0], sides[1] // halved[1])
        super().__init__(*layers, nn.MaxPool2d(sides), nn.Flatten(), nn.Linear(channels, spec.num_classes, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        """Float32 [B, C, H, W] to logits [B, classes]."""
        logits: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return logits * OUTPUT_SCALE


def whitening_filters(images: Tensor, number: int) -> Tensor:
    """Filters under which the 2 x 2 patches of `images` are uncorrelated and of unit variance, and their negatives.

    Args:
        images: float32 [n, C, H, W].
        number: even, up to 8 C: the leading `number` / 2 of 4 C principal components, largest variance first.

    Returns:
        float32 [number, C, 2, 2].
    """
    patches = F.unfold(images, 2).transpose(1, 2).flatten(0, 1)
    variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (components / (variances + WHITENING_EPS).sqrt()).T.flip(0)[: number // 2]
    return torch.cat([filters, -filters]).view(number, images.shape[1], 2, 2)


def _convolution(channels: int, width: int) -> nn.Conv2d:
    """3 x 3, keeping the side. Its first filters hand their input on, in place of a residual connection."""
    layer = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(layer.weight[:channels])
    return layer


class _Norm(nn.BatchNorm2d):
    """Batch normalisation with a bias only, which learns faster than everything else."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.weight.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return F.batch_norm(
            images,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias * BIAS_SCALE,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )
