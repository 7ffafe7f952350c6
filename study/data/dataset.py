"""What is trained on: `Dataset`, its `Split`s, and the few numbers about images that a network needs, `ImageSpec`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, H, W, C] (channels last, as a batch is gathered; may be memory-mapped), labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class ImageSpec:
    """Everything about a data set that a network, its normalisation and its augmentation depend on.

    Attributes:
        height, width: pixels.
        channels: 1 (grey) or 3 (RGB).
        num_classes: at least 2.
        mean, std: one value a channel, of the training images' pixels in [0, 1]; normalization "dataset".
    """

    height: int
    width: int
    channels: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


# Krizhevsky's CIFAR-10; mean and std as published with his cuda-convnet recipes and rounded the same way since.
CIFAR10 = ImageSpec(32, 32, 3, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
