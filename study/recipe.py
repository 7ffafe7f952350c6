"""The Recipe: everything that fixes one training run, in one frozen value.

Every field is a scalar, so that one and the same value is an Optuna parameter, a `config/<field>` column, a CSV cell,
a JSON value and a flag (`--fix lr=0.01`). Widths are written "16-32" for that reason.

BASELINE is the published training. Its defaults are the defaults of the class, so a Recipe that names no field is it.
"""

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.errors import RecipeError


def _number(default: float, low: float, high: float, unit: str, *, above: bool = False) -> Any:
    """A float in [low, high], or (low, high] with `above`."""
    return field(default=default, metadata={"low": low, "high": high, "above": above, "unit": unit})


def _whole(default: int, low: int, high: int, unit: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "above": False, "unit": unit})


def _choice(default: Any, *options: Any, unit: str) -> Any:
    return field(default=default, metadata={"options": options, "unit": unit})


def _widths(default: str, unit: str) -> Any:
    return field(default=default, metadata={"pattern": r"[1-9]\d{0,3}(-[1-9]\d{0,3}){0,7}", "unit": unit})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run of one network on CIFAR-10.

    Raises:
        RecipeError: a value outside its field's range, naming the field, the value and what is allowed.
    """

    # The network
    model: str = _choice("cnn", "cnn", "fast", "resnet18", "vgg11_bn", "vgg16_bn", unit="network family")
    channels: str = _widths("8-16", "output channels of each convolutional block, first to last")
    kernel: int = _choice(3, 3, 5, unit="pixels, side of the convolution kernel")
    padding: str = _choice("valid", "valid", "same", unit="whether convolutions keep the image size")
    hidden: str = _widths("128", "units of each hidden fully connected layer")
    batch_norm: bool = _choice(False, False, True, unit="batch normalisation after each convolution")
    dropout: float = _number(0.0, 0.0, 0.9, "probability, before each fully connected layer")
    whitening: bool = _choice(True, False, True, unit="frozen first layer that whitens 2 x 2 patches")
    pretrained: bool = _choice(False, False, True, unit="start from torchvision's ImageNet weights")

    # The optimizer
    optimizer: str = _choice("sgd", "sgd", "nesterov", "adam", "adamw", "rmsprop", unit="update rule")
    lr: float = _number(0.001, 0.0, 100.0, "peak learning rate", above=True)
    momentum: float = _number(0.9, 0.0, 0.9999, "momentum of sgd, nesterov and rmsprop")
    beta1: float = _number(0.9, 0.0, 0.9999, "decay of Adam's first moment")
    beta2: float = _number(0.999, 0.0, 0.99999, "decay of Adam's second moment, and of RMSprop's square average")
    weight_decay: float = _number(0.0, 0.0, 1.0, "L2 penalty, decoupled in adamw")
    batch_size: int = _whole(32, 1, 10_000, "images a step")
    label_smoothing: float = _number(0.0, 0.0, 0.9, "probability mass spread over all classes")

    # The learning-rate schedule, over the run's own epochs
    schedule: str = _choice(
        "constant", "constant", "step", "cosine", "one_cycle", "triangular", unit="shape of the decay"
    )
    warmup: float = _number(0.0, 0.0, 0.9, "share of the run in which lr rises linearly from lr / 25")
    gamma: float = _number(0.1, 0.0, 1.0, "factor of each of step's two drops, at 1/2 and 3/4 of the run", above=True)

    # The images
    normalization: str = _choice(
        "half", "half", "cifar10", "imagenet", unit="mean and std taken off: 0.5, or a data set's"
    )
    flip: str = _choice("none", "none", "random", "alternating", unit="horizontal flip")
    translate: int = _whole(0, 0, 16, "pixels, largest shift each way, edges reflected")
    cutout: int = _whole(0, 0, 32, "pixels, side of the square blanked")
    jitter: float = _number(0.0, 0.0, 1.0, "largest relative change of brightness, contrast and saturation")
    mixup: float = _number(0.0, 0.0, 10.0, "alpha of the Beta that blends pairs of images; 0 is off")
    cutmix: float = _number(0.0, 0.0, 10.0, "alpha of the Beta that sizes the patch from another image; 0 is off")

    # The run
    precision: str = _choice(
        "float32",
        "float32",
        "bfloat16",
        unit="arithmetic of the network on a CPU; a GPU always mixes in half precision",
    )
    epochs: int = _whole(30, 1, 10_000, "passes over the training images")
    seed: int = _whole(0, 0, 2**63 - 1, "seed of initialisation, order, dropout and augmentation")

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if not _fits(value, each):
                raise RecipeError(f"Recipe field {each.name!r} is {value!r}; allowed: {allowed(each.name)}")
        if self.model == "fast":
            self._check_fast_widths()
        if self.model == "cnn" and min(self.block_sides()) < 1:
            raise RecipeError(
                f"Recipe field 'channels' is {self.channels!r}: no pixels are left after block "
                f"{1 + next(i for i, side in enumerate(self.block_sides()) if side < 1)}; allowed: fewer blocks, "
                f"or padding 'same' instead of {self.padding!r}"
            )

    def _check_fast_widths(self) -> None:
        """Whitening filters come in pairs of either sign, one for each of the 12 values of a 2 x 2 patch."""
        widths = [int(width) for width in self.channels.split("-")]
        if len(widths) != 4 or (self.whitening and (widths[0] % 2 or widths[0] > 24)):
            raise RecipeError(
                f"Recipe field 'channels' is {self.channels!r}; allowed where model is 'fast': four widths, such as "
                "'24-64-128-128', the first even and at most 24 with whitening"
            )

    def block_sides(self) -> list[int]:
        """Side in pixels of what each block of the cnn family puts out: 2 x 2 pooling while two pixels are left."""
        sides, side = [], 32
        for _ in self.channels.split("-"):
            side -= 0 if self.padding == "same" else self.kernel - 1
            side //= 2 if side >= 2 else 1
            sides.append(side)
        return sides

    def as_dict(self) -> dict[str, Any]:
        """All fields in order, JSON-ready."""
        return dataclasses.asdict(self)

    def with_fields(self, fields: Mapping[str, Any]) -> "Recipe":
        """This Recipe with `fields` put in place of its own.

        Raises:
            RecipeError: an unknown field (with the nearest known one) or a refused value.
        """
        known = [each.name for each in dataclasses.fields(self)]
        for name in fields:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise RecipeError(f"a Recipe has no field {name!r}; {hint}")
        return dataclasses.replace(self, **fields)

    def meaningless(self) -> dict[str, str]:
        """Fields whose value cannot change this training: name -> why, in a few words.

        A knob that stays in here whatever else is drawn is a mistake of the space that draws it.
        """
        return {
            name: f"{owner} is {getattr(self, owner)!r}"
            for name, (owner, values) in _MEANS_SOMETHING_FOR.items()
            if getattr(self, owner) not in values
        }


_MEANS_SOMETHING_FOR: dict[str, tuple[str, tuple[Any, ...]]] = {
    "channels": ("model", ("cnn", "fast")),
    "kernel": ("model", ("cnn",)),
    "padding": ("model", ("cnn",)),
    "hidden": ("model", ("cnn",)),
    "batch_norm": ("model", ("cnn",)),
    "dropout": ("model", ("cnn", "vgg11_bn", "vgg16_bn")),
    "whitening": ("model", ("fast",)),
    "pretrained": ("model", ("resnet18", "vgg11_bn", "vgg16_bn")),
    "momentum": ("optimizer", ("sgd", "nesterov", "rmsprop")),
    "beta1": ("optimizer", ("adam", "adamw")),
    "beta2": ("optimizer", ("adam", "adamw", "rmsprop")),
    "gamma": ("schedule", ("step",)),
}


def allowed(name: str) -> str:
    """What the field `name` accepts, in words for an error message or a help text."""
    each = _FIELDS[name]
    meta = each.metadata
    if "options" in meta:
        return ", ".join(str(option) for option in meta["options"])
    if "pattern" in meta:
        return "one to eight widths from 1 to 9999 joined by '-', such as '16-32'"
    kind = "a whole number" if each.type is int else "a number"
    bracket = "(" if meta["above"] else "["
    return f"{kind} in {bracket}{meta['low']}, {meta['high']}]"


def parse(name: str, text: str) -> Any:
    """The value that `text` (from a command line) means for the field `name`.

    Raises:
        RecipeError: an unknown field, or text that is no value of its type.
    """
    BASELINE.with_fields({name: getattr(BASELINE, name, None)})
    kind = _FIELDS[name].type
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)  # type: ignore[operator]
    except (KeyError, ValueError):
        raise RecipeError(f"Recipe field {name!r} is {text!r}; allowed: {allowed(name)}") from None


def load_recipe(name_or_file: str) -> Recipe:
    """A named recipe of RECIPES, or one from a JSON file: the fields themselves, or a run's best.json.

    Raises:
        RecipeError: neither a name nor a readable file, or a file whose fields a Recipe refuses.
    """
    if name_or_file in RECIPES:
        return RECIPES[name_or_file]
    path = Path(name_or_file)
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        names = ", ".join(RECIPES)
        raise RecipeError(
            f"recipe {name_or_file!r} is neither a name ({names}) nor a readable file: {error.strerror}"
        ) from None
    except ValueError as error:
        raise RecipeError(f"recipe file {path} is not JSON: {error}") from None
    fields = content.get("recipe", content) if isinstance(content, dict) else content
    if not isinstance(fields, dict):
        raise RecipeError(f"recipe file {path} holds no object of Recipe fields")
    try:
        return BASELINE.with_fields(fields)
    except RecipeError as error:
        raise RecipeError(f"recipe file {path}: {error}") from None


def _fits(value: Any, each: "dataclasses.Field[Any]") -> bool:
    meta = each.metadata
    if "options" in meta:
        return any(value == option and type(value) is type(option) for option in meta["options"])
    if "pattern" in meta:
        return isinstance(value, str) and re.fullmatch(meta["pattern"], value) is not None
    if isinstance(value, bool) or not isinstance(value, int if each.type is int else (int, float)):
        return False
    above = value > meta["low"] if meta["above"] else value >= meta["low"]
    return math.isfinite(value) and above and value <= meta["high"]


_FIELDS: dict[str, "dataclasses.Field[Any]"] = {each.name: each for each in dataclasses.fields(Recipe)}

BASELINE = Recipe()

RECIPES: dict[str, Recipe] = {
    "baseline": BASELINE,
    # The network of the PyTorch CIFAR-10 tutorial ("Training a Classifier"), under the published training.
    "tutorial": Recipe(channels="6-16", kernel=5, padding="valid", hidden="120-84", batch_size=4),
    # For two CPU cores that multiply bfloat16; after airbench94 (Jordan 2024, arXiv:2404.00498): see models/fast.py.
    # lr and weight_decay are airbench94's, converted to a plain mean loss and a quarter of its batch of 1,024.
    "fast": Recipe(
        model="fast",
        channels="24-64-128-128",
        optimizer="nesterov",
        lr=0.4,
        momentum=0.85,
        weight_decay=1.3e-3,
        batch_size=256,
        label_smoothing=0.2,
        schedule="triangular",
        warmup=0.23,
        normalization="cifar10",
        flip="alternating",
        translate=2,
        precision="bfloat16",
    ),
}
