"""torchvision:NAME, any classification network of torchvision."""

import difflib

from torch import Tensor, nn

from search_spaces.loading import one_line
from study.data.dataset import ImageSpec
from study.errors import ModelError
from study.recipe import Recipe
from study.training.models.small_images import adapt
from study.training.models.weights import imagenet_weights

# Auxiliary classifiers would make the output a tuple.
WITHOUT_AUXILIARY = {"googlenet": {"aux_logits": False}, "inception_v3": {"aux_logits": False}}


def build(recipe: Recipe, spec: ImageSpec, train_images: Tensor) -> nn.Module:
    """The network with as many classes as the images have. Pretrained, the last layer is new.

    Raises:
        ModelError: torchvision has no such network, or it does not take the recipe's options.
        WeightsError: pretrained, but the weights are not available.
    """
    import torchvision

    check(recipe, spec)
    name = recipe.model.partition(":")[2]
    options = WITHOUT_AUXILIARY.get(name, {}) | recipe.model_options
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=spec.num_classes, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"network {recipe.model!r}: {one_line(error)}") from None
    if recipe.pretrained:
        own = network.state_dict()
        state = imagenet_weights(name)
        fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
        network.load_state_dict(own | fitting)
    return adapt(network, spec, 3, f"network {recipe.model!r}")


def check(recipe: Recipe, spec: ImageSpec) -> None:
    """Raises ModelError where torchvision has no such network."""
    import torchvision

    name, known = recipe.model.partition(":")[2], torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, 3) or known[:3]
        raise ModelError(f"torchvision has no classification network {name!r}; near: {', '.join(near)}")
