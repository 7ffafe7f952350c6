"""torchvision's ResNet-18, with a stem that fits the size of the images."""

from torch import Tensor, nn

from study.data.dataset import ImageSpec
from study.recipe import Recipe
from study.training.models.small_images import SMALL_IMAGE
from study.training.models.weights import imagenet_weights, with_channels


def build(recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> nn.Module:
    """ResNet-18. For images of up to 64 pixels a side, the first convolution is 3 x 3 with stride 1 and no max-pooling
    follows it, so that the last stage still sees 4 x 4 pixels of a 32 x 32 image (He et al. 2015, arXiv:1512.03385,
    section 4.2; as in kuangliu/pytorch-cifar).

    Pretrained, a 3 x 3 convolution is the middle of ImageNet's 7 x 7 one, and the last layer is new.

    Raises:
        WeightsError: pretrained, but the weights are not available.
    """
    import torchvision

    model: nn.Module = torchvision.models.resnet18(num_classes=spec.num_classes)
    small = max(spec.height, spec.width) <= SMALL_IMAGE
    if small:
        stem = nn.Conv2d(spec.channels, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    else:
        stem = nn.Conv2d(spec.channels, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = stem
    if recipe.pretrained:
        state = imagenet_weights("resnet18")
        first = with_channels(state["conv1.weight"], spec.channels)
        state["conv1.weight"] = first[:, :, 2:5, 2:5] if small else first
        new = {name: value for name, value in model.state_dict().items() if name.startswith("fc.")}
        model.load_state_dict(state | new)
    return model


def check(recipe: Recipe, spec: ImageSpec) -> None:
    """Every size of image will do."""
