"""torchvision's VGG with batch normalisation, with a small classifier and as many poolings as the images allow."""

from torch import Tensor, nn

from study.data.dataset import ImageSpec
from study.recipe import Recipe
from study.training.models.weights import imagenet_weights, with_channels

# The configuration letters of Simonyan & Zisserman 2014, arXiv:1409.1556, table 1.
CONFIGURATION = {"vgg11_bn": "A", "vgg16_bn": "D"}


def build(recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> nn.Module:
    """The convolutions of VGG-11 or VGG-16 and one linear layer in place of ImageNet's three, behind a dropout (as in
    kuangliu/pytorch-cifar). Five poolings leave 1 x 1 pixels of a 32 x 32 image. A side of one pixel is not halved;
    what is left of a larger image is averaged.

    Pretrained, the linear layer is new.

    Raises:
        WeightsError: pretrained, but the weights are not available.
    """
    from torchvision.models.vgg import cfgs, make_layers

    features: nn.Sequential = make_layers(cfgs[CONFIGURATION[recipe.model]], batch_norm=True)
    if spec.channels != 3:
        features[0] = nn.Conv2d(spec.channels, 64, 3, padding=1)
    sides = (spec.height, spec.width)
    for position, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.MaxPool2d):
            halved = tuple(min(2, side) for side in sides)
            features[position] = nn.MaxPool2d(halved)
            sides = (sides[0] // halved[0], sides[1] // halved[1])
    if recipe.pretrained:
        state, prefix = imagenet_weights(recipe.model), "features."
        state["features.0.weight"] = with_channels(state["features.0.weight"], spec.channels)
        features.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    if sides != (1, 1):
        features.append(nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(features, nn.Flatten(), nn.Dropout(recipe.dropout), nn.Linear(512, spec.num_classes))


def check(recipe: Recipe, spec: ImageSpec) -> None:
    """Every size of image will do."""
