"""MODELS: the network families that a Recipe may name, one file each; LIBRARIES: the prefixes of other people's.

Every network takes float32 [B, C, H, W] and gives logits [B, classes]. A family's file is imported when it is first
used, so that a Recipe can read the names without torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from study.data.dataset import ImageSpec
    from study.recipe import Recipe


def _any_size(recipe: "Recipe", spec: "ImageSpec") -> None:
    pass


@dataclass(frozen=True)
class Family:
    """One family of networks.

    Attributes:
        build: (recipe, spec, train_images) -> the network on the CPU, freshly initialised from torch's global
            generator. `train_images`, float32 [n, C, H, W] normalised, are a sample of the training images, for layers
            that are computed from data. Raises WeightsError where pretrained weights are not available.
        uses: the Recipe fields of which this family, unlike some others, makes use.
        check: (recipe, spec) -> None; raises RecipeError where the family cannot have these fields on such images.
        takes_options: whether it gets the Recipe's `model.<name>` options as keyword arguments.
        in_lanes: whether several threads may call the network at once (see lanes.py): it keeps nothing between calls,
            and draws in lanes.Dropout only.
    """

    build: "Callable[[Recipe, ImageSpec, Tensor], nn.Module]"
    uses: tuple[str, ...]
    check: "Callable[[Recipe, ImageSpec], None]" = _any_size
    takes_options: bool = False
    in_lanes: bool = False


def _family(module: str, uses: tuple[str, ...], **more: bool) -> Family:
    """The family whose `build` and `check` stand in study/training/models/<module>.py."""

    def of_module(function: str) -> Callable[..., Any]:
        return lambda *arguments: getattr(import_module(f"{__name__}.{module}"), function)(*arguments)

    return Family(of_module("build"), uses, of_module("check"), **more)


MODELS: dict[str, Family] = {
    "cnn": _family("cnn", uses=("channels", "kernel", "padding", "hidden", "batch_norm", "dropout"), in_lanes=True),
    "fast": _family("fast", uses=("channels", "whitening")),
    "resnet18": _family("resnet", uses=("pretrained",)),
    "vgg11_bn": _family("vgg", uses=("dropout", "pretrained")),
    "vgg16_bn": _family("vgg", uses=("dropout", "pretrained")),
}
# torchvision:NAME and timm:NAME.
LIBRARIES: dict[str, Family] = {
    "torchvision": _family("from_torchvision", uses=("pretrained",), takes_options=True),
    "timm": _family("from_timm", uses=("pretrained",), takes_options=True),
}
# file.py:NAME, package.module:NAME and python:NAME.
OWN = _family("user_network", uses=(), takes_options=True)


def family(model: str) -> Family:
    """The family of a Recipe's `model`: a name in MODELS, LIBRARY:NAME, or a reference to a network of one's own."""
    return MODELS[model] if model in MODELS else LIBRARIES.get(model.partition(":")[0], OWN)


def in_lanes(recipe: "Recipe") -> bool:
    """Whether the passes of a batch may be computed by several threads, with the same result for any number."""
    batch_norm = recipe.batch_norm and "batch_norm" in family(recipe.model).uses
    return family(recipe.model).in_lanes and not batch_norm


def build(recipe: "Recipe", spec: "ImageSpec", train_images: "Tensor") -> "nn.Module":
    """The network that `recipe` describes for images like `spec`; see `Family.build`.

    Raises:
        ModelError: a network of another library, or of one's own, that cannot be built.
        WeightsError: pretrained weights that are not available.
    """
    return family(recipe.model).build(recipe, spec, train_images)


def require_weights(recipe: "Recipe") -> None:
    """Downloads the pretrained weights that `recipe` asks for, unless they are in the library's cache; nothing
    otherwise.

    Raises:
        WeightsError: they are neither in the cache nor can be downloaded.
    """
    if not recipe.pretrained or "pretrained" in recipe.unused_fields():
        return
    library, _, name = recipe.model.rpartition(":")
    if library == "timm":
        from study.training.models.from_timm import pretrained_network

        pretrained_network(name)
    else:
        from study.training.models.weights import imagenet_weights

        imagenet_weights(name)
