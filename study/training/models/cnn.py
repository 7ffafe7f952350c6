"""The published family: convolutional blocks, max-pooling, fully connected layers."""

from torch import Tensor, nn

from study.data.dataset import ImageSpec
from study.errors import RecipeError
from study.recipe import Recipe
from study.training.lanes import Dropout


def build(recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> nn.Module:
    return Cnn(recipe, spec)


def check(recipe: Recipe, spec: ImageSpec) -> None:
    """Raises RecipeError where the blocks leave no pixels of the image."""
    for block, (height, width) in enumerate(block_sizes(recipe, spec), 1):
        if min(height, width) < 1:
            raise RecipeError(
                f"Recipe field 'channels' is {recipe.channels!r}: no pixels of {spec.height} x {spec.width} are left "
                f"after block {block}; allowed: fewer blocks, a smaller kernel than {recipe.kernel}, or padding 'same' "
                f"instead of {recipe.padding!r}"
            )


def block_sizes(recipe: Recipe, spec: ImageSpec) -> list[tuple[int, int]]:
    """Height and width in pixels of each block's output: pooling halves each side that has two pixels or more."""
    sizes, height, width = [], spec.height, spec.width
    lost = 0 if recipe.padding == "same" else recipe.kernel - 1
    for _ in recipe.channels.split("-"):
        height, width = (side // 2 if side >= 2 else side for side in (height - lost, width - lost))
        sizes.append((height, width))
    return sizes


class Cnn(nn.Sequential):
    """Blocks of convolution, max-pooling and ReLU, then fully connected layers with ReLU, then one logit a class.

    Pooling stands before the ReLU: both orders give the same values and gradients, as ReLU is monotone, and this one
    rectifies a quarter of the activations.
    """

    def __init__(self, recipe: Recipe, spec: ImageSpec) -> None:
        layers: list[nn.Module] = []
        channels, height, width = spec.channels, spec.height, spec.width
        for out, (next_height, next_width) in zip(
            map(int, recipe.channels.split("-")), block_sizes(recipe, spec), strict=True
        ):
            layers.append(nn.Conv2d(channels, out, recipe.kernel, padding=recipe.padding, bias=not recipe.batch_norm))
            if recipe.batch_norm:
                layers.append(nn.BatchNorm2d(out))
            lost = 0 if recipe.padding == "same" else recipe.kernel - 1
            pooling = tuple(2 if side - lost >= 2 else 1 for side in (height, width))
            if pooling != (1, 1):
                layers.append(nn.MaxPool2d(pooling))
            layers.append(nn.ReLU())
            channels, height, width = out, next_height, next_width
        layers.append(nn.Flatten())
        units = channels * height * width
        for out in map(int, recipe.hidden.split("-")):
            layers += [Dropout(recipe.dropout, units), nn.Linear(units, out), nn.ReLU()]
            units = out
        layers += [Dropout(recipe.dropout, units), nn.Linear(units, spec.num_classes)]
        if recipe.dropout == 0:
            layers = [layer for layer in layers if not isinstance(layer, Dropout)]
        super().__init__(*layers)
