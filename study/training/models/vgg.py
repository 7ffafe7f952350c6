"""torchvision's VGG with batch normalisation, with a classifier for 32 x 32 images."""

from torch import nn

from study.recipe import Recipe
from study.training.models.weights import imagenet_weights

# The configuration letters of Simonyan & Zisserman 2014, arXiv:1409.1556, table 1.
CONFIGURATION = {"vgg11_bn": "A", "vgg16_bn": "D"}


def vgg(recipe: Recipe) -> nn.Module:
    """The convolutions of VGG-11 or VGG-16; five poolings leave 1 x 1 pixels, so one linear layer 512 -> 10 takes the
    place of ImageNet's three (as in kuangliu/pytorch-cifar), behind a dropout.

    Pretrained, that layer is new.

    Raises:
        WeightsError: pretrained, but the weights cannot be had.
    """
    from torchvision.models.vgg import cfgs, make_layers

    features: nn.Sequential = make_layers(cfgs[CONFIGURATION[recipe.model]], batch_norm=True)
    for layer in features:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    if recipe.pretrained:
        state = imagenet_weights(recipe.model)
        prefix = "features."
        features.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return nn.Sequential(features, nn.Flatten(), nn.Dropout(recipe.dropout), nn.Linear(512, 10))
