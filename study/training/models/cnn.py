"""The published family: convolutional blocks, max-pooling, fully connected layers."""

from torch import nn

from study.recipe import Recipe


class Cnn(nn.Sequential):
    """Blocks of convolution, max-pooling and ReLU, then fully connected layers with ReLU, then 10 logits.

    Pooling stands before the ReLU: both orders give the same values and gradients, as ReLU is monotone, and this one
    rectifies a quarter of the activations.
    """

    def __init__(self, recipe: Recipe) -> None:
        layers: list[nn.Module] = []
        channels, side = 3, 32
        for width, side_after in zip(map(int, recipe.channels.split("-")), recipe.block_sides(), strict=True):
            layers.append(nn.Conv2d(channels, width, recipe.kernel, padding=recipe.padding, bias=not recipe.batch_norm))
            if recipe.batch_norm:
                layers.append(nn.BatchNorm2d(width))
            if side > 1:
                layers.append(nn.MaxPool2d(2))
            layers.append(nn.ReLU())
            channels, side = width, side_after
        layers.append(nn.Flatten())
        units = channels * side * side
        for width in map(int, recipe.hidden.split("-")):
            layers += [nn.Dropout(recipe.dropout), nn.Linear(units, width), nn.ReLU()]
            units = width
        layers += [nn.Dropout(recipe.dropout), nn.Linear(units, 10)]
        if recipe.dropout == 0:
            layers = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
        super().__init__(*layers)
