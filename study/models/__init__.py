"""From a Recipe to a network: one file per family, one entry point.

Every network takes float32 [B, 3, 32, 32] and gives float32 logits [B, 10].
"""

import torch
from torch import nn

from study.recipe import Recipe


def build(recipe: Recipe, train_images: torch.Tensor) -> nn.Module:
    """The network that `recipe` describes, freshly initialised from torch's global generator, on the CPU.

    `train_images`, float32 [n, 3, 32, 32] normalised, are a sample of the training images, for layers that are computed
    from data.
    """
    match recipe.model:
        case "cnn":
            from study.models.cnn import Cnn

            return Cnn(recipe)
        case _:
            raise NotImplementedError(recipe.model)
