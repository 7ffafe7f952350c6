"""A small fast network after the CIFAR-10 speed records, with widths to fit a CPU.

Jordan 2024, arXiv:2404.00498 (KellerJordan/cifar10-airbench, airbench94) and hlb-CIFAR10 before it. Left out of theirs:
test-time augmentation, lookahead, and the trained bias of the first layer, for whose sake each step would compute the
gradient of the largest activations.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.recipe import Recipe

# airbench94: the logits are scaled down by it, so that the whole network can have one learning rate.
OUTPUT_SCALE = 1 / 9
# airbench94 gives biases of batch normalisation 64 times the learning rate, at unchanged decay. A bias that is stored
# at 1/8 of its value moves 8 times as far, from a gradient 8 times as large: the same under SGD.
BIAS_SCALE = 8.0
# airbench94's floor under the eigenvalues of the patch covariance, for images of unit variance.
WHITENING_EPS = 5e-4


class Fast(nn.Sequential):
    """A 2 x 2 convolution, three blocks of two 3 x 3 convolutions that each halve the side, and one linear layer.

    Args:
        recipe: `channels` are the widths of the first layer and of the three blocks; with `whitening` the first layer
            is computed from `train_images` and stays as it is.
        train_images: float32 [n, 3, 32, 32], normalised.
    """

    def __init__(self, recipe: Recipe, train_images: Tensor) -> None:
        first, *blocks = map(int, recipe.channels.split("-"))
        stem = nn.Conv2d(3, first, 2, bias=False)
        if recipe.whitening:
            stem.weight = nn.Parameter(whitening_filters(train_images, first), requires_grad=False)
        layers: list[nn.Module] = [stem, nn.GELU()]
        channels = first
        for width in blocks:
            layers += [_convolution(channels, width), nn.MaxPool2d(2), _Norm(width), nn.GELU()]
            layers += [_convolution(width, width), _Norm(width), nn.GELU()]
            channels = width
        super().__init__(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(channels, 10, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        """Float32 [B, 3, 32, 32] to logits [B, 10]."""
        logits: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return logits * OUTPUT_SCALE


def whitening_filters(images: Tensor, number: int) -> Tensor:
    """Filters under which the 2 x 2 patches of `images` are uncorrelated and of unit variance, and their negatives.

    Args:
        images: float32 [n, 3, 32, 32].
        number: even, up to 24: the leading `number` / 2 of 12 principal components, largest variance first.

    Returns:
        float32 [number, 3, 2, 2].
    """
    patches = F.unfold(images, 2).transpose(1, 2).flatten(0, 1)
    variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (components / (variances + WHITENING_EPS).sqrt()).T.flip(0)[: number // 2]
    return torch.cat([filters, -filters]).view(number, 3, 2, 2)


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
