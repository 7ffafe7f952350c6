"""From a Recipe to a network: one file per family, one entry point.

Every network takes float32 [B, 3, 32, 32] and gives logits [B, 10].
"""

import torch
from torch import nn

from study.errors import WeightsError
from study.recipe import Recipe
from study.training.models.weights import imagenet_weights

__all__ = ["WeightsError", "build", "require_weights"]


def build(recipe: Recipe, train_images: torch.Tensor) -> nn.Module:
    """The network that `recipe` describes, freshly initialised from torch's global generator, on the CPU.

    `train_images`, float32 [n, 3, 32, 32] normalised, are a sample of the training images, for layers that are computed
    from data.

    Raises:
        WeightsError: a pretrained network whose weights cannot be had.
    """
    match recipe.model:
        case "cnn":
            from study.training.models.cnn import Cnn

            return Cnn(recipe)
        case "fast":
            from study.training.models.fast import Fast

            return Fast(recipe, train_images)
        case "resnet18":
            from study.training.models.resnet import resnet18

            return resnet18(recipe)
        case _:
            from study.training.models.vgg import vgg

            return vgg(recipe)


def require_weights(recipe: Recipe) -> None:
    """Downloads the pretrained weights that `recipe` asks for, unless they are in torch's cache; nothing otherwise.

    Raises:
        WeightsError: they cannot be had.
    """
    if recipe.pretrained and "pretrained" not in recipe.meaningless():
        imagenet_weights(recipe.model)
