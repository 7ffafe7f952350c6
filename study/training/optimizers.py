"""OPTIMIZERS: the update rules that a Recipe may name.

Each function gets the parameters to train and the Recipe. torch is imported inside the functions, so that a Recipe can
read the names without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from study.recipe import Recipe


@dataclass(frozen=True)
class OptimizerEntry:
    """One update rule.

    Attributes:
        build: (trainable parameters, recipe) -> the optimizer, with `recipe.lr` as its learning rate.
        uses: the Recipe fields of which this optimizer, unlike some others, makes use.
    """

    build: "Callable[[Sequence[nn.Parameter], Recipe], Optimizer]"
    uses: tuple[str, ...]


def _sgd(parameters: "Sequence[nn.Parameter]", recipe: "Recipe") -> "Optimizer":
    from torch.optim import SGD

    return SGD(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum, fused=True)


def _nesterov(parameters: "Sequence[nn.Parameter]", recipe: "Recipe") -> "Optimizer":
    from torch.optim import SGD

    return SGD(
        parameters,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,  # torch refuses it without momentum, where both rules are the same
        fused=True,
    )


def _adam(parameters: "Sequence[nn.Parameter]", recipe: "Recipe") -> "Optimizer":
    from torch.optim import Adam

    betas = (recipe.beta1, recipe.beta2)
    return Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=betas, fused=True)


def _adamw(parameters: "Sequence[nn.Parameter]", recipe: "Recipe") -> "Optimizer":
    from torch.optim import AdamW

    betas = (recipe.beta1, recipe.beta2)
    return AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=betas, fused=True)


def _rmsprop(parameters: "Sequence[nn.Parameter]", recipe: "Recipe") -> "Optimizer":
    from torch.optim import RMSprop

    return RMSprop(
        parameters,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        alpha=recipe.beta2,
        momentum=recipe.momentum,
        foreach=True,
    )


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(_sgd, uses=("momentum",)),
    "nesterov": OptimizerEntry(_nesterov, uses=("momentum",)),
    "adam": OptimizerEntry(_adam, uses=("beta1", "beta2")),
    "adamw": OptimizerEntry(_adamw, uses=("beta1", "beta2")),
    "rmsprop": OptimizerEntry(_rmsprop, uses=("momentum", "beta2")),
}
