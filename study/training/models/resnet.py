"""torchvision's ResNet-18 with a stem for 32 x 32 images."""

from torch import nn

from study.recipe import Recipe
from study.training.models.weights import imagenet_weights


def resnet18(recipe: Recipe) -> nn.Module:
    """ResNet-18 whose first convolution is 3 x 3 with stride 1 and has no max-pooling after it, so that the last stage
    still sees 4 x 4 pixels (He et al. 2015, arXiv:1512.03385, section 4.2; as in kuangliu/pytorch-cifar).

    Pretrained, the first convolution is the middle of ImageNet's 7 x 7 one, and the last layer is new.

    Raises:
        WeightsError: pretrained, but the weights cannot be had.
    """
    import torchvision

    model: nn.Module = torchvision.models.resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    if recipe.pretrained:
        state = imagenet_weights("resnet18")
        state["conv1.weight"] = state["conv1.weight"][:, :, 2:5, 2:5]
        new = {name: value for name, value in model.state_dict().items() if name.startswith("fc.")}
        model.load_state_dict(state | new)
    return model
