"""Networks made for 224 x 224 RGB images, on the images that one has."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.dataset import ImageSpec
from study.errors import ModelError

# The stems of ImageNet networks divide each side by 4 and their stages by 8: of up to so many pixels, 2 x 2 or fewer
# would be left.
SMALL_IMAGE = 64
# Sides to which images are enlarged, in turn, until the network accepts them; transformers accept 224 only.
ENLARGED = (SMALL_IMAGE, 224)


class Adapted(nn.Module):
    """A network with what it needs before it: grey images repeated to three channels, small ones enlarged.

    Attributes:
        note: what was adapted, for a person; empty where nothing was.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int] | None, channels: int, note: str) -> None:
        super().__init__()
        self.network = network
        self._size, self._channels, self.note = size, channels, note

    def forward(self, images: Tensor) -> Tensor:
        """Float32 [B, C, H, W] to logits [B, classes]."""
        if self._size is not None:
            images = F.interpolate(images, self._size, mode="bilinear", align_corners=False)
        if images.shape[1] != self._channels:
            images = images.expand(-1, self._channels, -1, -1)
        logits: Tensor = self.network(images)
        return logits


def adapt(network: nn.Module, spec: ImageSpec, channels: int, what: str) -> nn.Module:
    """`network`, for images of `spec`: a ResNet's stem is replaced, or the images are enlarged, where they are small.

    Args:
        channels: that the network takes.
        what: its name in error messages.

    Raises:
        ModelError: the network accepts none of the sizes.
    """
    notes = [] if channels == spec.channels else ["grey images are repeated to three channels"]
    small = max(spec.height, spec.width) <= SMALL_IMAGE
    if small and _has_resnet_stem(network):
        small_stem(network)
        notes.append("3 x 3 convolution with stride 1 and no pooling as stem, for small images")
        return Adapted(network, None, channels, "; ".join(notes))
    sizes = [*([] if small else [(spec.height, spec.width)]), *((side, side) for side in ENLARGED)]
    for size in sizes:
        if (reason := _refuses(network, size, channels)) is None:
            break
    else:
        raise ModelError(f"{what} accepts no images of {spec.height} x {spec.width}, nor enlarged ones: {reason}")
    if size == (spec.height, spec.width):
        return Adapted(network, None, channels, "; ".join(notes)) if notes else network
    notes.append(f"images are enlarged from {spec.height} x {spec.width} to {size[0]} x {size[1]}")
    return Adapted(network, size, channels, "; ".join(notes))


def small_stem(network: nn.Module) -> None:
    """Replaces a ResNet's 7 x 7 convolution by the middle of it, with stride 1, and takes the pooling out.

    As in He et al. 2015, arXiv:1512.03385, section 4.2, and kuangliu/pytorch-cifar. Taking the middle keeps what
    pretrained weights have learnt.
    """
    old = network.conv1
    assert isinstance(old, nn.Conv2d)
    new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        new.weight.copy_(old.weight[:, :, 2:5, 2:5])
    network.conv1, network.maxpool = new, nn.Identity()


def _has_resnet_stem(network: nn.Module) -> bool:
    conv1, maxpool = getattr(network, "conv1", None), getattr(network, "maxpool", None)
    return isinstance(conv1, nn.Conv2d) and conv1.kernel_size == (7, 7) and maxpool is not None


def _refuses(network: nn.Module, size: tuple[int, int], channels: int) -> str | None:
    """Why the network does not accept two images of `size`; None where it does."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(2, channels, *size))
    except Exception as error:  # an assertion, a shape or a type error: each library has its own
        return f"{type(error).__name__}: {error}".split("\n")[0]
    finally:
        network.train(training)
    return None
