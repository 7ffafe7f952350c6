"""timm:NAME, any image classification network of timm."""

import difflib
from typing import Any

from torch import Tensor, nn

from search_spaces.loading import one_line
from study.data.dataset import ImageSpec
from study.errors import ModelError, WeightsError
from study.recipe import Recipe
from study.training.models.small_images import adapt


def build(recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> nn.Module:
    """The network with as many channels and classes as the images have. Pretrained, the last layer is new, and on grey
    images the first one sums its weights over the colours (timm's own rule).

    Raises:
        ModelError: timm is not installed, has no such network, or it does not take the recipe's options.
        WeightsError: pretrained, but the weights are not available.
    """
    check(recipe, spec)
    options = {"num_classes": spec.num_classes, "in_chans": spec.channels, **recipe.model_options}
    name, what = recipe.model.partition(":")[2], f"network {recipe.model!r}"
    network = pretrained_network(name, **options) if recipe.pretrained else _create(name, what, options)
    return adapt(network, spec, spec.channels, what)


def check(recipe: Recipe, spec: ImageSpec) -> None:
    """Raises ModelError where timm is not installed or has no such network."""
    try:
        import timm
    except ImportError:
        raise ModelError(f"model {recipe.model!r} needs timm; install it with: pip install timm") from None
    name = recipe.model.partition(":")[2]
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), 3) or timm.list_models()[:3]
        raise ModelError(f"timm has no network {name!r}; near: {', '.join(near)}")


def pretrained_network(name: str, **options: Any) -> nn.Module:
    """The network with its published weights, from the Hugging Face cache or downloaded into it.

    Raises:
        WeightsError: they can be neither read nor downloaded.
    """
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        network: nn.Module = timm.create_model(name, pretrained=True, **options)
    except (TypeError, AssertionError) as error:
        raise ModelError(f"network 'timm:{name}': {one_line(error)}") from None
    except Exception as error:  # huggingface_hub, urllib and safetensors raise a dozen kinds
        published = timm.get_pretrained_cfg(name)
        source = (published and (published.hf_hub_id or published.url)) or "no published weights"
        raise WeightsError(
            f"pretrained weights of timm:{name} ({source}) are not available ({one_line(error)[:200]}); bring them "
            f"into the cache {HF_HUB_CACHE} (hf download {source}), or fix pretrained=false"
        ) from error
    return network


def _create(name: str, what: str, options: dict[str, Any]) -> nn.Module:
    import timm

    try:
        network: nn.Module = timm.create_model(name, pretrained=False, **options)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise ModelError(f"{what}: {one_line(error)}") from None
    return network
