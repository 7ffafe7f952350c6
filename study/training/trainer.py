"""The protocol of one training, and how one is built: our own loop, or a class of the user's."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from study.data.dataset import ImageSpec, Split
from study.errors import ModelError
from study.recipe import Recipe
from study.training.loop import Epoch, Training


class Trainer(Protocol):
    """One training: iterating it trains. `state_dict` and `load_state_dict` let it be paused and resumed."""

    def __iter__(self) -> Iterator[Epoch]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 [N, H, W, C] to class probabilities float32 [N, classes]."""


def build_trainer(
    trainer: Any, recipe: Recipe, train: Split, validation: Split | None, *, spec: ImageSpec, **options: Any
) -> Trainer:
    """The training of `recipe` on `train`.

    Args:
        trainer: None for our own loop.
        options: of study.training.loop.Training.

    Raises:
        ModelError: there is no such trainer.
    """
    if trainer is not None:
        raise ModelError(f"trainer {trainer!r} is not supported yet")
    return Training(recipe, train, validation, spec=spec, **options)
