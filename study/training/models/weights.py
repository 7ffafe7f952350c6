"""ImageNet weights, through torchvision's own weights API and cache."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from study.errors import WeightsError


def imagenet_weights(model: str) -> dict[str, Any]:
    """The state of torchvision's `model` (such as "resnet18") after training on ImageNet: name -> float32 tensor.

    Taken from torch's cache ($TORCH_HOME/hub/checkpoints), or downloaded into it.

    Raises:
        WeightsError: they can be neither read nor downloaded.
    """
    import torchvision

    published = torchvision.models.get_model_weights(model)
    # The first version where there is one; a few large networks have other names only.
    weights = published["IMAGENET1K_V1"] if "IMAGENET1K_V1" in published.__members__ else published.DEFAULT
    folder = Path(torch.hub.get_dir(), "checkpoints")
    file = folder / weights.url.rpartition("/")[2]
    found = file.is_file()
    try:
        state: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True, map_location="cpu")
    except Exception as error:  # torch.load and urllib raise a dozen kinds
        reason = str(error).strip().split("\n")[0]
        what = "cannot be read" if found else f"cannot be downloaded from {weights.url}"
        raise WeightsError(
            f"pretrained weights {weights} {what} ({reason}); put the file {file.name} into {folder}, "
            "or fix pretrained=false"
        ) from error
    return state


def with_channels(weight: Tensor, channels: int) -> Tensor:
    """The first convolution's weight [out, 3, k, k], for images of 1 or 3 channels.

    On grey images the sum over the three is what the network would give for three equal channels.
    """
    return weight if channels == 3 else weight.sum(1, keepdim=True)
