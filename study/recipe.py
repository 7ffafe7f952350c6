"""The Recipe: everything that determines one training, in one frozen value.

Every field is a scalar, so that one and the same value is an Optuna parameter, a `config/<field>` column, a CSV cell,
a JSON value and a flag (`--fix lr=0.01`). Widths are written "16-32" for that reason. What a network of your own takes
are options, `model.depth` and the like, as many as it has.

BASELINE is the published training. Its values are the defaults of the class, so a Recipe without arguments equals it.
"""

import dataclasses
import difflib
import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from study.errors import RecipeError

# The registries: none of them needs torch before one of its entries is used.
from study.training.models import MODELS, family
from study.training.optimizers import OPTIMIZERS
from study.training.schedules import SCHEDULES

Scalar: TypeAlias = bool | int | float | str

LARGEST_INTEGER = 2**63 - 1
LONGEST_SHOWN = 80  # characters of a refused value in its message

# A network that is not in MODELS: torchvision:NAME, timm:NAME, file.py:name or package.module:name.
REFERENCE = re.compile(r"[^:\s][^:]*:[\w.]+")
# model.<name> is a keyword argument of the network; augmentation.<name> the strength of one that was added.
OPTION = re.compile(r"(model|augmentation)\.[A-Za-z_]\w*")


def _number(default: float, low: float, high: float, unit: str, *, above: bool = False) -> Any:
    """A float in [low, high], or (low, high] with `above`."""
    return field(default=default, metadata={"low": low, "high": high, "above": above, "unit": unit})


def _integer(default: int, low: int, high: int, unit: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "above": False, "unit": unit})


def _choice(default: Any, *options: Any, unit: str) -> Any:
    return field(default=default, metadata={"options": options, "unit": unit})


def _registered(default: str, registry: Mapping[str, Any], unit: str) -> Any:
    """A name in a registry, which may grow."""
    return field(default=default, metadata={"options": registry, "unit": unit})


def _widths(default: str, unit: str) -> Any:
    return field(default=default, metadata={"pattern": r"[1-9]\d{0,3}(-[1-9]\d{0,3}){0,7}", "unit": unit})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hyperparameters of one training of one network.

    Raises:
        RecipeError: a value outside its field's range; the message names the field, the value and what is allowed.
            What depends on the images as well is checked by study.training.checks.
    """

    # The network
    model: str = _registered("cnn", MODELS, unit="network family, or a reference to a network of your own")
    channels: str = _widths("8-16", "output channels of each convolutional block, first to last")
    kernel: int = _choice(3, 3, 5, unit="pixels, side of the convolution kernel")
    padding: str = _choice("valid", "valid", "same", unit="whether convolutions keep the image size")
    hidden: str = _widths("128", "units of each hidden fully connected layer")
    batch_norm: bool = _choice(False, False, True, unit="batch normalisation after each convolution")
    dropout: float = _number(0.0, 0.0, 0.9, "probability, before each fully connected layer")
    whitening: bool = _choice(True, False, True, unit="frozen first layer that whitens 2 x 2 patches")
    pretrained: bool = _choice(False, False, True, unit="start from the library's ImageNet weights")

    # The optimizer
    optimizer: str = _registered("sgd", OPTIMIZERS, unit="update rule")
    lr: float = _number(0.001, 0.0, 100.0, "peak learning rate", above=True)
    momentum: float = _number(0.9, 0.0, 0.9999, "momentum of sgd, nesterov and rmsprop")
    beta1: float = _number(0.9, 0.0, 0.9999, "decay of Adam's first moment")
    beta2: float = _number(0.999, 0.0, 0.99999, "decay of Adam's second moment, and of RMSprop's square average")
    weight_decay: float = _number(0.0, 0.0, 1.0, "L2 penalty, decoupled in adamw")
    batch_size: int = _integer(32, 1, 10_000, "images per step")
    label_smoothing: float = _number(0.0, 0.0, 0.9, "probability mass spread over all classes")

    # The learning-rate schedule, over the training's own epochs
    schedule: str = _registered("constant", SCHEDULES, unit="learning-rate schedule")
    warmup: float = _number(0.0, 0.0, 0.9, "share of the training in which lr rises linearly from lr / 25")
    gamma: float = _number(0.1, 0.0, 1.0, "factor of step's two drops, at 1/2 and 3/4 of the training", above=True)

    # The images
    normalization: str = _choice(
        "half",
        "half",
        "dataset",
        "cifar10",
        "imagenet",
        unit="pixel mean and standard deviation: 0.5 (half), or measured",
    )
    flip: str = _choice("none", "none", "random", "alternating", unit="horizontal flip")
    translate: int = _integer(0, 0, 16, "pixels, largest shift each way, edges reflected")
    cutout: int = _integer(0, 0, 32, "pixels, side of the square blanked")
    jitter: float = _number(0.0, 0.0, 1.0, "largest relative change of brightness, contrast and saturation")
    mixup: float = _number(0.0, 0.0, 10.0, "alpha of the Beta that blends pairs of images; 0 is off")
    cutmix: float = _number(0.0, 0.0, 10.0, "alpha of the Beta that sizes the patch from another image; 0 is off")

    # The classes
    class_weights: str = _choice(
        "none", "none", "balanced", unit="class weights in the loss: 1, or inverse to the number of images"
    )
    batch_sampling: str = _choice(
        "uniform",
        "uniform",
        "balanced",
        unit="images of an epoch: each once, or drawn with equal chances for all classes",
    )

    # The training
    precision: str = _choice(
        "float32",
        "float32",
        "bfloat16",
        unit="arithmetic of the network; a GPU without bfloat16 takes float16 in its place",
    )
    epochs: int = _integer(30, 1, 10_000, "passes over the training images")
    seed: int = _integer(0, 0, LARGEST_INTEGER, "seed of initialisation, order, dropout and augmentation")

    # Pairs of option and value, such as ("model.depth", 4), sorted; a mapping is taken as well.
    options: tuple[tuple[str, Scalar], ...] = field(default=(), metadata={})

    def __post_init__(self) -> None:
        for name, each in FIELDS.items():
            value = getattr(self, name)
            if not _fits(value, each):
                raise RecipeError(f"Recipe field {name!r} is {_shown(value)}; allowed: {allowed(name)}")
        pairs: Iterable[tuple[str, Scalar]] = (
            self.options.items() if isinstance(self.options, Mapping) else self.options
        )
        object.__setattr__(self, "options", tuple(sorted(pairs)))
        for name, value in self.options:
            if not OPTION.fullmatch(name) or not _is_scalar(value):
                raise RecipeError(f"Recipe field {_shown(name)} is {_shown(value)}; allowed: {allowed(name)}")

    @property
    def model_options(self) -> dict[str, Scalar]:
        """The keyword arguments of a network of your own, without "model."."""
        return {name.removeprefix("model."): value for name, value in self.options if name.startswith("model.")}

    def strength(self, augmentation: str) -> float:
        """The strength of an augmentation: the field of its name, or the option augmentation.<name>, or 0."""
        if augmentation in FIELDS:
            return float(getattr(self, augmentation))
        return float(dict(self.options).get(f"augmentation.{augmentation}", 0.0))

    def as_dict(self) -> dict[str, Any]:
        """All fields in order, then the options under their own names; JSON-ready."""
        return {name: getattr(self, name) for name in FIELDS} | dict(self.options)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The Recipe of which `as_dict` gave `fields`. A field that is missing has its default, as in recipes recorded
        before the field existed.

        Raises:
            RecipeError: as `with_fields`.
        """
        return cls().with_fields(fields)

    def with_fields(self, fields: Mapping[str, Any]) -> "Recipe":
        """This Recipe with other values for `fields`, options such as "model.depth" among them.

        Raises:
            RecipeError: an unknown field (with the nearest known one) or a value that is not allowed.
        """
        for name in fields:
            if name not in FIELDS and not OPTION.fullmatch(name):
                near = difflib.get_close_matches(name, FIELDS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FIELDS)}, model.<name>"
                raise RecipeError(f"a Recipe has no field {_shown(name)}; {hint}")
        options = dict(self.options) | {name: value for name, value in fields.items() if name not in FIELDS}
        own = {name: value for name, value in fields.items() if name in FIELDS}
        return dataclasses.replace(self, **own, options=tuple(options.items()))

    def unused_fields(self) -> dict[str, str]:
        """Fields whose value cannot change this training: name -> why, in a few words.

        A hyperparameter that is in here whatever else is drawn is a mistake of the space that draws it.
        """
        registries: dict[str, Mapping[str, Any]] = {"model": MODELS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
        unused: dict[str, str] = {}
        for owner, registry in registries.items():
            name = getattr(self, owner)
            uses = family(name).uses if owner == "model" else registry[name].uses
            used_by_some = {each for entry in registry.values() for each in entry.uses}
            unused |= {each: f"{owner} is {name!r}" for each in FIELDS if each in used_by_some and each not in uses}
        return unused


def allowed(name: str) -> str:
    """What the field `name` accepts, in words for an error message or a help text."""
    if name not in FIELDS:
        return "options named model.<name> or augmentation.<name>, each true, false, a number or text"
    each = FIELDS[name]
    meta = each.metadata
    if "options" in meta:
        more = ", torchvision:NAME, timm:NAME, file.py:NAME" if name == "model" else ""
        return ", ".join(str(option) for option in meta["options"]) + more
    if "pattern" in meta:
        return "one to eight widths from 1 to 9999 joined by '-', such as '16-32'"
    kind = "an integer" if each.type is int else "a number"
    bracket = "(" if meta["above"] else "["
    return f"{kind} in {bracket}{meta['low']}, {meta['high']}]"


def parse(name: str, text: str) -> Any:
    """The value that `text` (from a command line) means for the field `name`.

    Raises:
        RecipeError: an unknown field, or text that is no value of its type.
    """
    if OPTION.fullmatch(name):
        return _parse_scalar(text)
    BASELINE.with_fields({name: getattr(BASELINE, name, None)})
    kind = FIELDS[name].type
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)  # type: ignore[operator]
    except (KeyError, ValueError):
        raise RecipeError(f"Recipe field {name!r} is {_shown(text)}; allowed: {allowed(name)}") from None


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
    except RecursionError:
        raise RecipeError(f"recipe file {path} is nested too deeply") from None
    except ValueError as error:
        raise RecipeError(f"recipe file {path} is not JSON: {error}") from None
    fields = content.get("recipe", content) if isinstance(content, dict) else content
    if not isinstance(fields, dict):
        raise RecipeError(f"recipe file {path} is not a JSON object of Recipe fields")
    try:
        return Recipe.from_dict(fields)
    except RecipeError as error:
        raise RecipeError(f"recipe file {path}: {error}") from None


def _fits(value: Any, each: "dataclasses.Field[Any]") -> bool:
    meta = each.metadata
    if each.name == "model" and isinstance(value, str) and REFERENCE.fullmatch(value):
        return True
    if "options" in meta:
        return any(value == option and type(value) is type(option) for option in meta["options"])
    if "pattern" in meta:
        return isinstance(value, str) and re.fullmatch(meta["pattern"], value) is not None
    if isinstance(value, bool) or not isinstance(value, int if each.type is int else (int, float)):
        return False
    above = value > meta["low"] if meta["above"] else value >= meta["low"]
    return above and bool(value <= meta["high"])  # neither holds for NaN


def _is_scalar(value: Any) -> bool:
    """Whether the tables and the event log can have it: integers of 64 bits, and no infinite number."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) or (isinstance(value, int) and abs(value) <= LARGEST_INTEGER)


def _shown(value: Any) -> str:
    """The value in an error message: on one line, and cut where it is long."""
    shown = reprlib.repr(value) if isinstance(value, list | tuple | dict) else _repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 3]}..."


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return f"an integer of {value.bit_length()} bits"


def _parse_scalar(text: str) -> Scalar:
    """true, false, an integer or a float where `text` is one, else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# The fields that every Recipe has, in order; options come on top.
FIELDS: dict[str, "dataclasses.Field[Any]"] = {
    each.name: each for each in dataclasses.fields(Recipe) if each.name != "options"
}

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
