"""A network of the user's own: a class or function, by reference."""

from torch import Tensor, nn

from study.data.dataset import ImageSpec
from study.errors import ModelError
from study.recipe import Recipe
from study.training.references import call_with_named, resolve


def build(recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> nn.Module:
    """The network, called with the arguments that it names out of in_channels, image_size (height, width), num_classes,
    train_images (float32 [n, C, H, W], normalised) and the recipe's `model.<name>` options.

    Raises:
        ModelError: it cannot be loaded or called with these, or is no nn.Module.
    """
    given = {
        "in_channels": spec.channels,
        "image_size": (spec.height, spec.width),
        "num_classes": spec.num_classes,
        "train_images": train_images,
    }
    what = f"network {recipe.model!r}"
    network = call_with_named(resolve(recipe.model, "network"), what, given, recipe.model_options)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{what} gives {type(network).__name__}; allowed: a torch.nn.Module")
    return network


def check(recipe: Recipe, spec: ImageSpec) -> None:
    """What fits the images is found by study.training.checks.check_network."""
