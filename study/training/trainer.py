"""The protocol of one training, and how a class of the user's own takes the place of the built-in loop.

    class MyTrainer:
        def __init__(self, recipe, train, spec): ...
        def __iter__(self): ...          # trains; yields once an epoch
        def predict(self, images): ...   # uint8 [N, H, W, C] -> probabilities [N, classes]

docs/your-own-network-and-training.md has three complete examples.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.loading import one_line, where
from study.data.dataset import CIFAR10, ImageSpec, Split
from study.errors import ModelError, StudyError
from study.recipe import Recipe
from study.training.loop import Diverged, Epoch, Training
from study.training.metrics import METRICS, measure, measured_each_epoch
from study.training.references import call_with_named, reference_of, resolve


class Trainer(Protocol):
    """One training of one Recipe.

    A class of the user's own needs `__iter__` and `predict` only. It may yield an Epoch, a mapping of metrics (such as
    {"train_loss": 0.3}) or None; what is missing is measured with `predict`. Without `state_dict` and
    `load_state_dict` it works as well, but a training that was paused or interrupted is trained again from its start.
    """

    def __iter__(self) -> Iterator[Epoch]:
        """Trains; yields after each of the recipe's epochs that is left."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors, numpy arrays and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave, in a Trainer of the same recipe and split."""

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities [N, classes] for images uint8 [N, H, W, C]."""


def build_trainer(
    trainer: Any,
    recipe: Recipe,
    train: Split,
    validation: Split | None = None,
    *,
    spec: ImageSpec = CIFAR10,
    device: str = "cpu",
    after_step: Callable[[Any], None] | None = None,
    metrics: Sequence[str] | None = None,
) -> Trainer:
    """The training of `recipe`: the built-in loop, or the user's own.

    Args:
        trainer: None for the built-in loop, a reference (see references.resolve), or a class or function itself. The
            user's is called with the arguments that it names out of recipe, train, validation, spec, device and the
            recipe's `model.<name>` options.
        after_step: called with the Trainer whenever its state may be saved.

    Raises:
        ModelError: a trainer that cannot be loaded or constructed, or lacks a method.
        RecipeError, WeightsError: as Training.
    """
    if trainer is None:
        return Training(recipe, train, validation, spec=spec, device=device, after_step=after_step, metrics=metrics)
    reference = reference_of(trainer)
    given = {"recipe": recipe, "train": train, "validation": validation, "spec": spec, "device": device}
    own = call_with_named(resolve(reference, "trainer"), f"trainer {reference!r}", given, recipe.model_options)
    names = measured_each_epoch() if metrics is None else tuple(metrics)
    return UserTrainer(own, reference, validation, (recipe.epochs, spec.num_classes), names, after_step)


def final_state(trainer: Trainer) -> Any:
    """What predictions depend on: the network's state_dict for the built-in loop, else the trainer's own state."""
    return trainer.model.state_dict() if isinstance(trainer, Training) else trainer.state_dict()


def load_final_state(trainer: Trainer, state: Any) -> None:
    """Puts back what `final_state` gave."""
    if isinstance(trainer, Training):
        trainer.model.load_state_dict(state)
    else:
        trainer.load_state_dict(state)


class UserTrainer:
    """A user's trainer as the rest of the suite sees it: it counts and times epochs, measures what the trainer does not
    measure itself, and continues one that cannot save its state by training it again.

    Args:
        own: the user's trainer.
        reference: its name in error messages.
        limits: how many epochs to train, and how many classes there are.
        metrics: names in METRICS.
    """

    def __init__(
        self,
        own: Any,
        reference: str,
        validation: Split | None,
        limits: tuple[int, int],
        metrics: tuple[str, ...],
        after_step: Callable[[Any], None] | None,
    ) -> None:
        for method in ("__iter__", "predict"):
            if not callable(getattr(own, method, None)):
                raise ModelError(f"trainer {reference!r} has no method {method}; a trainer needs __iter__ and predict")
        self.own, self.reference = own, reference
        self.epoch = 0  # how many are done
        self._validation, self._metrics, self._after_step = validation, metrics, after_step
        self._epochs, self._classes = limits
        self._repeated = 0  # epochs to train again without reporting them

    @property
    def saves_state(self) -> bool:
        """Whether a training that was interrupted continues where it was, instead of being trained again."""
        return all(callable(getattr(self.own, name, None)) for name in ("state_dict", "load_state_dict"))

    def __iter__(self) -> Iterator[Epoch]:
        started = time.perf_counter()
        own = iter(self._call(lambda: iter(self.own)))
        while self.epoch < self._epochs:
            try:
                yielded = self._call(lambda: next(own, _NOTHING))
            except Diverged as diverged:
                raise Diverged(self.epoch + 1, diverged.step, diverged.loss) from None
            if yielded is _NOTHING:
                raise ModelError(
                    f"trainer {self.reference!r} ended after {self.epoch} of {self._epochs} epochs; "
                    "__iter__ yields once for each of recipe.epochs"
                )
            if self._repeated > 0:
                self._repeated -= 1
                continue
            self.epoch += 1
            metrics = self._measured(yielded)
            epoch = Epoch(self.epoch, metrics, time.perf_counter() - started)
            if self._after_step is not None:
                self._after_step(self)
            yield epoch
            started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """The epoch and the trainer's own state, None where it cannot save it; loadable with weights_only."""
        state = _as_plain(self.own.state_dict(), self.reference) if self.saves_state else None
        return {"epoch": self.epoch, "own": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues after the epoch of `state`."""
        self.epoch = state["epoch"]
        if state["own"] is None:
            self._repeated = self.epoch
        else:
            self.own.load_state_dict(_from_plain(state["own"]))

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The trainer's own probabilities, float32 [N, classes].

        Raises:
            ModelError: of another shape, not finite, negative, or rows that do not add up to 1.
        """
        if self._repeated > 0:
            self._train_again()
        predicted = self._call(lambda: self.own.predict(images))
        found = predicted.detach().cpu().numpy() if isinstance(predicted, torch.Tensor) else np.asarray(predicted)
        expected = (len(images), self._classes)
        if found.shape != expected:
            raise ModelError(f"predict of trainer {self.reference!r} gives {found.shape}; allowed: {expected}")
        if not np.isfinite(found).all() or (found < 0).any() or not np.allclose(found.sum(1), 1, atol=1e-3):
            raise ModelError(f"predict of trainer {self.reference!r} gives rows that are no probabilities")
        return found.astype(np.float32)

    def _train_again(self) -> None:
        own = iter(self.own)
        for _ in range(self._repeated):
            self._call(lambda: next(own, _NOTHING))
        self._repeated = 0

    def _measured(self, yielded: Any) -> dict[str, float | None]:
        """All metrics of an epoch: what the trainer yielded, and what else is asked for from its predictions."""
        if yielded is None:
            yielded = {}
        found = yielded.metrics if isinstance(yielded, Epoch) else yielded
        if not isinstance(found, Mapping):
            raise ModelError(
                f"trainer {self.reference!r} yielded {type(found).__name__}; allowed: an Epoch, a mapping or None"
            )
        metrics: dict[str, float | None] = {"train_loss": None, "val_loss": None}
        metrics |= {str(name): None if value is None else float(value) for name, value in found.items()}
        missing = [name for name in self._metrics if metrics.get(f"val_{name}") is None]
        if self._validation is None:
            metrics |= {f"val_{name}": None for name in missing}
        elif missing or metrics["val_loss"] is None:
            labels, probabilities = self._validation.labels, self.predict(self._validation.images)
            metrics |= measure(labels, probabilities, missing)
            if metrics["val_loss"] is None:
                metrics["val_loss"] = METRICS["log_loss"].function(labels, probabilities)
        for name, value in metrics.items():
            if value is not None and not math.isfinite(value):
                raise Diverged(self.epoch, 0, value) if name.endswith("loss") else self._not_finite(name, value)
        return metrics

    def _not_finite(self, name: str, value: float) -> ModelError:
        return ModelError(f"trainer {self.reference!r} gives {name} as {value}; allowed: a finite number")

    def _call(self, function: Callable[[], Any]) -> Any:
        """What `function`, the user's code, returns; its errors name the trainer and its line."""
        try:
            return function()
        except (StudyError, Diverged):
            raise
        except Exception as error:
            place = f" ({where(error)})" if where(error) else ""
            raise ModelError(
                f"trainer {self.reference!r} raised {type(error).__name__}: {one_line(error)}{place}"
            ) from error


_NOTHING = object()  # what a generator that has ended gives


def _as_plain(value: Any, reference: str, key: str = "state") -> Any:
    """`value` with numpy arrays as tensors and tuples as lists, so that torch.load reads it with weights_only.

    Raises:
        ModelError: an object of another type in it.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"numpy": torch.from_numpy(np.array(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {each: _as_plain(inner, reference, f"{key}[{each!r}]") for each, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain(inner, reference, f"{key}[{at}]") for at, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.Tensor):
        return value
    raise ModelError(
        f"state_dict of trainer {reference!r} has a {type(value).__name__} at {key}; allowed: tensors, numpy arrays, "
        "numbers, text, lists and mappings of them"
    )


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == ["numpy"]:
            return value["numpy"].cpu().numpy()
        return {key: _from_plain(inner) for key, inner in value.items()}
    return [_from_plain(inner) for inner in value] if isinstance(value, list) else value
