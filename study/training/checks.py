"""What is verified before a training costs anything: the fields by arithmetic, networks and trainers by one step."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from search_spaces.loading import one_line, where
from study.data.dataset import ImageSpec, Split
from study.errors import ModelError, RecipeError
from study.recipe import FIELDS, Recipe
from study.training.augmentation import AUGMENTATIONS
from study.training.models import build, family


@dataclass(frozen=True)
class NetworkFacts:
    """What a person wants to know of a network before it is trained.

    Attributes:
        parameters: how many numbers it has, and how many of them are trained.
        trained: the latter.
        note: how the network or the images were adapted to each other; empty where they were not.
    """

    parameters: int
    trained: int
    note: str


def check_recipe(recipe: Recipe, spec: ImageSpec) -> None:
    """Verifies what a Recipe alone does not know: that its fields fit these images and its options the network.

    Raises:
        RecipeError: a shift beyond the image, blocks that leave no pixels, an option that nothing takes.
        ModelError: a network that its library does not have.
    """
    smaller = min(spec.height, spec.width)
    if recipe.translate >= smaller:
        raise RecipeError(
            f"Recipe field 'translate' is {recipe.translate}; allowed for images of {spec.height} x {spec.width}: "
            f"an integer in [0, {smaller - 1}]"
        )
    network = family(recipe.model)
    if recipe.model_options and not network.takes_options:
        option, value = next(iter(recipe.model_options.items()))
        raise RecipeError(f"Recipe field 'model.{option}' is {value!r}; model {recipe.model!r} takes no such option")
    network.check(recipe, spec)
    added = AUGMENTATIONS.keys() - FIELDS
    for name, value in recipe.options:
        kind, _, option = name.partition(".")
        if kind == "augmentation" and option not in added:
            known = ", ".join(sorted(added)) or "none was added"
            raise RecipeError(
                f"Recipe field {name!r} is {value!r}; no augmentation {option!r} was added; known: {known}"
            )


def check_network(recipe: Recipe, spec: ImageSpec) -> NetworkFacts:
    """Builds the network and takes one step on two images of noise, so that a mistake in it shows before any training.

    Raises:
        ModelError: it cannot be built, raises, has nothing to train, gives no logits [B, classes] or none that are
            finite, or has a parameter that gets no gradient.
        RecipeError, WeightsError: as check_recipe and build.
    """
    check_recipe(recipe, spec)
    what = f"network {recipe.model!r}"
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        images = torch.randn(64, spec.channels, spec.height, spec.width)
        network = build(recipe, spec, images)
        trained = {name: each for name, each in network.named_parameters() if each.requires_grad}
        if not trained:
            raise ModelError(f"{what} has no parameters to train")
        network.train()
        try:
            logits = network(images[:2])
        except Exception as error:
            place = f" ({where(error)})" if where(error) else ""
            reason = f"{type(error).__name__}: {one_line(error)}{place}"
            raise ModelError(
                f"{what} raised at the first step, on images {list(images[:2].shape)}: {reason}"
            ) from error
        _check_logits(logits, what, spec)
        F.cross_entropy(logits.float(), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    without = [name for name, each in trained.items() if each.grad is None]
    if without:
        raise ModelError(
            f"{what}: {', '.join(without[:3])} ({len(without)} of {len(trained)} parameters) get no gradient; "
            "use them in forward, or set requires_grad=False"
        )
    number = sum(each.numel() for each in network.parameters())
    return NetworkFacts(number, sum(each.numel() for each in trained.values()), getattr(network, "note", ""))


def _check_logits(logits: Any, what: str, spec: ImageSpec) -> None:
    if not isinstance(logits, torch.Tensor):
        raise ModelError(f"{what} gives {type(logits).__name__}; allowed: a tensor of logits [B, {spec.num_classes}]")
    if tuple(logits.shape) != (2, spec.num_classes):
        raise ModelError(
            f"{what} gives {list(logits.shape)} for 2 images; allowed: logits [2, {spec.num_classes}], one for each of "
            f"the {spec.num_classes} classes"
        )
    if not math.isfinite(float(logits.detach().float().sum())):
        raise ModelError(f"{what} gives logits that are not finite at the first step")


def check_trainer(trainer: Any, recipe: Recipe, spec: ImageSpec) -> str:
    """Trains the user's own trainer for an epoch on two images of noise a class, so that a mistake in it shows before
    any training.

    Returns:
        A note for the user where the trainer cannot save its state, else "".

    Raises:
        ModelError: it cannot be loaded or constructed, lacks a method, raises, or gives no probabilities.
    """
    from study.training.trainer import UserTrainer, build_trainer

    labels = np.repeat(np.arange(spec.num_classes), 2)
    shape = (len(labels), spec.height, spec.width, spec.channels)
    split = Split(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), labels)
    with torch.random.fork_rng([]):
        one_epoch = recipe.with_fields({"epochs": 1})
        trained = build_trainer(trainer, one_epoch, split, split, spec=spec)
        next(iter(trained))
        state = trained.state_dict()
        trained.load_state_dict(state)
        trained.predict(split.images[:2])
    if isinstance(trained, UserTrainer) and not trained.saves_state:
        return "has no state_dict and load_state_dict: a training that is paused or interrupted starts again"
    return ""
