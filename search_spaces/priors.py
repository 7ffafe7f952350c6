"""What practice recommends for each hyperparameter, how far practice differs, and where this is written.

    prior = PRIORS["lr"]
    value = prior.sample(distribution, generator, given={"optimizer": "sgd"})

A sampler may draw from these or weight candidates by them. A space may have its own: they are kept in its attribute
`priors` (see `with_priors`) and take the place of those here. `python -m search_spaces --show SPACE` prints them.

Centres are what the cited works use, not the result of a search on CIFAR-10 here.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import ndtr, ndtri

from search_spaces import distributions as distributions_of

# A prior may be wrong, so this share of it is uniform: nothing that the space allows is ruled out.
UNIFORM_SHARE = 0.1

Given = Mapping[str, Any]
AnySpace = TypeVar("AnySpace", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Prior(ABC):
    """A distribution over the values of one hyperparameter, cut to what an Optuna distribution can give.

    `given` has the values of other hyperparameters, as far as they are known: Recipe field -> value.

    Attributes:
        source: the works that recommend it.
    """

    source: str

    def sample(self, distribution: BaseDistribution, generator: np.random.Generator, given: Given | None = None) -> Any:
        """A value that `distribution` can give; uniform where this prior says nothing about `distribution`."""
        shape = self._shape(distribution, given or {})
        if shape is None or generator.random() < UNIFORM_SHARE:
            shape = _uniform(distribution)
        return shape.sample(generator)

    def log_density(self, distribution: BaseDistribution, value: Any, given: Given | None = None) -> float:
        """Logarithm of how many times more probable `value` is than in a uniform draw from `distribution`.

        It is 0 where this prior says nothing, so that the values of several hyperparameters can be added, and it is at
        least log(UNIFORM_SHARE). Uniform means uniform in the logarithm for a logarithmic distribution.

        Raises:
            ValueError: `distribution` cannot give `value`.
        """
        if not distributions_of.contains(distribution, value):
            raise ValueError(f"{value!r} is not in {distributions_of.in_words(distribution)}")
        shape = self._shape(distribution, given or {})
        return 0.0 if shape is None else math.log(UNIFORM_SHARE + (1 - UNIFORM_SHARE) * shape.ratio(value))

    def centre_in(self, distribution: BaseDistribution, given: Given | None = None) -> Any:
        """The value of `distribution` that this prior recommends most; the middle where it says nothing."""
        shape = self._shape(distribution, given or {})
        return distributions_of.middle(distribution) if shape is None else shape.centre()

    @abstractmethod
    def in_words(self) -> str:
        """The recommendation in a few words, without its source."""

    @abstractmethod
    def _shape(self, distribution: BaseDistribution, given: Given) -> "_Weights | _Curve | None": ...


@dataclass(frozen=True, kw_only=True)
class NormalPrior(Prior):
    """A number that is normally distributed around `centre`.

    Attributes:
        spread: standard deviation, in the hyperparameter's own unit.
    """

    centre: float
    spread: float

    def in_words(self) -> str:
        return f"{self.centre:g} ± {self.spread:g}"

    def _shape(self, distribution: BaseDistribution, given: Given) -> "_Weights | _Curve | None":
        return _numeric_shape(distribution, self.centre, self.spread, log=False)


@dataclass(frozen=True, kw_only=True)
class LogNormalPrior(Prior):
    """A positive number whose logarithm is normally distributed around that of `centre`.

    Attributes:
        factor: two thirds of the probability lie between centre / factor and centre * factor.
    """

    centre: float
    factor: float

    def in_words(self) -> str:
        return f"{self.centre:g} ×/÷ {self.factor:g}"

    def _shape(self, distribution: BaseDistribution, given: Given) -> "_Weights | _Curve | None":
        return _numeric_shape(distribution, math.log(self.centre), math.log(self.factor), log=True)


@dataclass(frozen=True, kw_only=True)
class ChoicePrior(Prior):
    """Weights of choices; a choice that has none here gets the mean of those that have."""

    weights: Mapping[Any, float]

    def in_words(self) -> str:
        return ", ".join(f"{choice} {weight:g}" for choice, weight in self.weights.items())

    def _shape(self, distribution: BaseDistribution, given: Given) -> "_Weights | _Curve | None":
        choices = distributions_of.values(distribution) if _is_listable(distribution) else None
        if choices is None:
            return None
        known = [self._weight(choice) for choice in choices]
        found = [weight for weight in known if weight is not None]
        if not found or not any(found):
            return None
        return _Weights(choices, [sum(found) / len(found) if weight is None else weight for weight in known])

    def _weight(self, choice: Any) -> float | None:
        return next(
            (
                weight
                for value, weight in self.weights.items()
                if value == choice and isinstance(value, bool) == isinstance(choice, bool)
            ),
            None,
        )


@dataclass(frozen=True, kw_only=True)
class ConditionalPrior(Prior):
    """A prior for each value of another hyperparameter; it says nothing where that one is unknown or has none.

    Attributes:
        by: the Recipe field that decides.
        cases: value of `by` -> prior.
    """

    by: str
    cases: Mapping[Any, Prior]
    source: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(self, "source", "; ".join(dict.fromkeys(case.source for case in self.cases.values())))

    def in_words(self) -> str:
        words: dict[str, list[str]] = {}
        for value, case in self.cases.items():
            words.setdefault(case.in_words(), []).append(str(value))
        return "; ".join(f"{' and '.join(values)}: {said}" for said, values in words.items())

    def _shape(self, distribution: BaseDistribution, given: Given) -> "_Weights | _Curve | None":
        case = self.cases.get(given.get(self.by))
        return None if case is None else case._shape(distribution, given)


@dataclass(frozen=True)
class _Weights:
    """Unnormalised weights of listed values."""

    values: Sequence[Any]
    weights: Sequence[float]

    def sample(self, generator: np.random.Generator) -> Any:
        weights = np.asarray(self.weights, float)
        return self.values[int(generator.choice(len(self.values), p=weights / weights.sum()))]

    def ratio(self, value: Any) -> float:
        position = next(
            i
            for i, each in enumerate(self.values)
            if each == value and isinstance(each, bool) == isinstance(value, bool)
        )
        return self.weights[position] * len(self.values) / sum(self.weights)

    def centre(self) -> Any:
        return self.values[int(np.argmax(self.weights))]


@dataclass(frozen=True)
class _Curve:
    """A normal curve over the logarithm of a number or the number itself, cut to a distribution's range.

    Where the centre lies outside, it is moved to the nearest end. `spread` is infinite for the uniform curve. The
    values of a grid own half a step to either side, as in Optuna.
    """

    distribution: FloatDistribution | IntDistribution
    mean: float
    spread: float
    log: bool

    def sample(self, generator: np.random.Generator) -> float | int:
        low, high = self._ends()
        if math.isinf(self.spread):
            z = generator.uniform(low, high)
        else:
            mean = min(max(self.mean, low), high)
            shares = ndtr((np.array([low, high]) - mean) / self.spread)
            z = min(max(mean + self.spread * float(ndtri(generator.uniform(*shares))), low), high)
        return distributions_of.nearest(self.distribution, math.exp(z) if self.log else z)

    def ratio(self, value: float) -> float:
        half = (self.distribution.step or 0.0) / 2
        uniform = _uniform_curve(self.distribution)
        if half:
            return self._share(value - half, value + half) / uniform._share(value - half, value + half)
        if self.distribution.low == self.distribution.high:
            return 1.0
        if self.log and value <= 0:
            return 0.0
        # Densities in the value itself: that of z times dz / dvalue.
        return self._density(value) / uniform._density(value)

    def centre(self) -> float | int:
        low, high = self._ends()
        mean = min(max(self.mean, low), high)
        return distributions_of.nearest(self.distribution, math.exp(mean) if self.log else mean)

    def _ends(self) -> tuple[float, float]:
        half = (self.distribution.step or 0.0) / 2
        return self._z(self.distribution.low - half), self._z(self.distribution.high + half)

    def _z(self, value: float) -> float:
        if not self.log:
            return value
        return math.log(value) if value > 0 else -math.inf

    def _share(self, low: float, high: float) -> float:
        """The probability between two values."""
        ends, part = self._ends(), (self._z(low), self._z(high))
        if math.isinf(self.spread):
            return (part[1] - part[0]) / (ends[1] - ends[0])
        mean = min(max(self.mean, ends[0]), ends[1])
        total, inside = (float(np.diff(ndtr((np.array(each) - mean) / self.spread))[0]) for each in (ends, part))
        return inside / total

    def _density(self, value: float) -> float:
        low, high = self._ends()
        slope = 1 / value if self.log else 1.0
        if math.isinf(self.spread):
            return slope / (high - low)
        mean = min(max(self.mean, low), high)
        total = float(np.diff(ndtr((np.array([low, high]) - mean) / self.spread))[0])
        scaled = (self._z(value) - mean) / self.spread
        return slope * math.exp(-scaled * scaled / 2) / (self.spread * math.sqrt(2 * math.pi) * total)


def _uniform(distribution: BaseDistribution) -> "_Weights | _Curve":
    if isinstance(distribution, CategoricalDistribution):
        return _Weights(distribution.choices, [1.0] * len(distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return _uniform_curve(distribution)


def _uniform_curve(distribution: FloatDistribution | IntDistribution) -> _Curve:
    return _Curve(distribution, 0.0, math.inf, distribution.log)


def _numeric_shape(
    distribution: BaseDistribution, mean: float, spread: float, *, log: bool
) -> _Weights | _Curve | None:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return _Curve(distribution, mean, spread, log)
    if not isinstance(distribution, CategoricalDistribution):
        return None
    weights = []
    for choice in distribution.choices:
        if isinstance(choice, bool) or not isinstance(choice, int | float) or (log and choice < 0):
            return None
        z = (math.log(choice) if choice > 0 else -math.inf) if log else choice
        weights.append(math.exp(-(((z - mean) / spread) ** 2) / 2))
    return _Weights(distribution.choices, weights) if any(weights) else None


def _is_listable(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, CategoricalDistribution) or (
        isinstance(distribution, IntDistribution) and distribution.high - distribution.low < 1_000
    )


def with_priors(**priors: Prior) -> Callable[[AnySpace], AnySpace]:
    """Gives a space priors of its own, as a decorator or for a space that exists; the other priors stay.

        space = with_priors(lr=LogNormalPrior(centre=0.4, factor=2, source="my notes"))(search_spaces.load("cnn"))

    Names with a dot are written `with_priors(**{"model.width": ...})`.
    """

    def decorate(space: AnySpace) -> AnySpace:
        @functools.wraps(space)
        def same(trial: Any) -> Any:
            return space(trial)

        same.priors = {**getattr(space, "priors", {}), **priors}  # type: ignore[attr-defined]
        return same  # type: ignore[return-value]

    return decorate


def priors_of(space: object) -> dict[str, Prior]:
    """The priors of a space's hyperparameters, by name: its own, and PRIORS for all others.

    Raises:
        ValueError: its `priors` are no dict of priors.
    """
    own = getattr(space, "priors", {})
    if not isinstance(own, Mapping) or not all(isinstance(prior, Prior) for prior in own.values()):
        raise ValueError(f"the priors of a space are {own!r}; allowed: a dict, name -> Prior")
    return {**PRIORS, **own}


_WIDE_RESNET = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"
_RESNET = "He et al. 2015, arXiv:1512.03385"
_VGG = "Simonyan & Zisserman 2015, arXiv:1409.1556"
_ADAM = "Kingma & Ba 2015, arXiv:1412.6980"
_ADAMW = "Loshchilov & Hutter 2019, arXiv:1711.05101"
_AIRBENCH = "Jordan 2024, arXiv:2404.00498 (airbench)"
_ONE_CYCLE = "Smith & Topin 2017, arXiv:1708.07120"
_PLAYBOOK = "Godbole et al. 2023, Deep Learning Tuning Playbook"

# 0.1 with batch normalisation (wide ResNets), 0.01 without (VGG): the geometric middle, and one spread to either.
_SGD_LR = LogNormalPrior(centre=0.03, factor=3, source=f"0.1: {_WIDE_RESNET}; 0.01: {_VGG}")
_ADAM_LR = LogNormalPrior(centre=1e-3, factor=3, source=f"1e-3: {_ADAM}")
_SGD_DECAY = LogNormalPrior(centre=5e-4, factor=2, source=f"5e-4: {_WIDE_RESNET} and {_VGG}; 1e-4: {_RESNET}")
_ADAM_DECAY = LogNormalPrior(centre=1e-4, factor=4, source=f"L2 penalty under Adam, 1e-4 to 1e-3: {_ADAMW}")

PRIORS: dict[str, Prior] = {
    "kernel": ChoicePrior(weights={3: 3, 5: 1}, source=f"3: {_VGG}"),
    "padding": ChoicePrior(weights={"same": 4, "valid": 1}, source=f"same: {_VGG} and {_RESNET}"),
    "batch_norm": ChoicePrior(weights={True: 4, False: 1}, source="Ioffe & Szegedy 2015, arXiv:1502.03167"),
    "dropout": NormalPrior(
        centre=0.3,
        spread=0.15,
        source=f"0.5 in fully connected layers: Srivastava et al. 2014 (JMLR 15); 0.3 on CIFAR-10: {_WIDE_RESNET}",
    ),
    "whitening": ChoicePrior(weights={True: 4, False: 1}, source=_AIRBENCH),
    "pretrained": ChoicePrior(weights={True: 3, False: 1}, source="Kornblith et al. 2019, arXiv:1805.08974"),
    "optimizer": ChoicePrior(
        weights={"nesterov": 4, "sgd": 2, "adamw": 2, "adam": 1, "rmsprop": 0.5},
        source=f"Nesterov: {_WIDE_RESNET} and {_AIRBENCH}; adaptive rules below SGD: Wilson et al. 2017, "
        "arXiv:1705.08292",
    ),
    "lr": ConditionalPrior(
        by="optimizer",
        cases={"sgd": _SGD_LR, "nesterov": _SGD_LR, "adam": _ADAM_LR, "adamw": _ADAM_LR, "rmsprop": _ADAM_LR},
    ),
    "momentum": NormalPrior(
        centre=0.9, spread=0.04, source=f"0.9: {_RESNET} and {_WIDE_RESNET}; 0.85: {_AIRBENCH}; 0.95: {_ONE_CYCLE}"
    ),
    "beta1": NormalPrior(centre=0.9, spread=0.04, source=_ADAM),
    "beta2": ChoicePrior(weights={0.999: 4, 0.99: 2, 0.9: 1}, source=f"0.999: {_ADAM}; lower ones: {_PLAYBOOK}"),
    "weight_decay": ConditionalPrior(
        by="optimizer",
        cases={
            "sgd": _SGD_DECAY,
            "nesterov": _SGD_DECAY,
            "adam": _ADAM_DECAY,
            "adamw": LogNormalPrior(centre=1e-2, factor=4, source=f"decoupled, torch's default 1e-2: {_ADAMW}"),
            "rmsprop": _ADAM_DECAY,
        },
    ),
    "batch_size": LogNormalPrior(centre=128, factor=2, source=f"128: {_RESNET} and {_WIDE_RESNET}"),
    "label_smoothing": NormalPrior(
        centre=0.1, spread=0.07, source=f"0.1: Szegedy et al. 2016, arXiv:1512.00567; 0.2: {_AIRBENCH}"
    ),
    "schedule": ChoicePrior(
        weights={"one_cycle": 4, "cosine": 4, "triangular": 3, "step": 1.5, "constant": 0.5},
        source=f"one cycle: {_ONE_CYCLE}; cosine: Loshchilov & Hutter 2017, arXiv:1608.03983; linear or cosine decay "
        f"by default: {_PLAYBOOK}; triangular: {_AIRBENCH}; step: {_RESNET}",
    ),
    "warmup": ConditionalPrior(
        by="schedule",
        cases={
            "one_cycle": NormalPrior(centre=0.3, spread=0.1, source="torch's OneCycleLR: 0.3"),
            "triangular": NormalPrior(centre=0.23, spread=0.08, source=f"0.23: {_AIRBENCH}"),
            "cosine": NormalPrior(
                centre=0.06, spread=0.05, source="5 of 90 epochs: Goyal et al. 2017, arXiv:1706.02677"
            ),
            "step": NormalPrior(centre=0.06, spread=0.05, source="5 of 90 epochs: Goyal et al. 2017, arXiv:1706.02677"),
        },
    ),
    "gamma": LogNormalPrior(centre=0.14, factor=1.5, source=f"0.1: {_RESNET}; 0.2: {_WIDE_RESNET}"),
    "normalization": ChoicePrior(
        weights={"dataset": 4, "cifar10": 4, "imagenet": 1, "half": 1},
        source=f"the data set's own: {_WIDE_RESNET} and {_AIRBENCH}",
    ),
    "flip": ChoicePrior(
        weights={"random": 4, "alternating": 4, "none": 0.5}, source=f"random: {_RESNET}; alternating: {_AIRBENCH}"
    ),
    "translate": NormalPrior(centre=3, spread=1.5, source=f"4: {_RESNET}; 2: {_AIRBENCH}"),
    "cutout": NormalPrior(
        centre=8,
        spread=6,
        source=f"16 for large nets: DeVries & Taylor 2017, arXiv:1708.04552; none or 12: {_AIRBENCH}",
    ),
    "jitter": ChoicePrior(weights={0.0: 4, 0.1: 1, 0.2: 1, 0.4: 1}, source=f"none: {_WIDE_RESNET} and {_AIRBENCH}"),
    "mixup": ChoicePrior(
        weights={0.0: 3, 0.2: 1, 1.0: 1},
        source=f"Zhang et al. 2018, arXiv:1710.09412, in long trainings; none: {_AIRBENCH}",
    ),
    "cutmix": ChoicePrior(
        weights={0.0: 3, 1.0: 1}, source=f"Yun et al. 2019, arXiv:1905.04899, in long trainings; none: {_AIRBENCH}"
    ),
}
