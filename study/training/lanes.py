"""The passes of a batch on several threads at once, with the same result, bit for bit, for any number of them.

A pass is computed by one thread, whose torch uses no others. The gradients are added up in the order of the passes, as
one thread does it. What a network draws in a pass (dropout) is drawn before the passes begin, in their order.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
R = TypeVar("R")


class Dropout(nn.Dropout):
    """nn.Dropout for inputs [B, features], whose mask may be drawn beforehand: the same, bit for bit, on a CPU.

    Args:
        p: the probability that an input is set to zero.
    """

    def __init__(self, p: float, features: int) -> None:
        super().__init__(p)
        self.features = features

    def draw(self, images: int, dtype: torch.dtype) -> Tensor:
        """What inputs of so many images are multiplied with: 0 or 1 / (1 - p), [images, features], from torch's global
        generator."""
        return torch.empty(images, self.features, dtype=dtype).bernoulli_(1 - self.p).div_(1 - self.p)

    def forward(self, inputs: Tensor) -> Tensor:
        mask: Tensor | None = getattr(_of_this_thread, "masks", {}).get(self)
        return super().forward(inputs) if mask is None or not self.training else inputs * mask


# masks: Dropout -> its mask, in the pass that this thread computes.
_of_this_thread = threading.local()


class Lanes:
    """Threads for the passes of one network; as many as torch is set to use.

    Args:
        model: it keeps nothing between calls, has no batch normalisation, and draws in Dropout only.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._dropouts = [module for module in model.modules() if isinstance(module, Dropout) and module.p > 0]
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, the threads are there, and each operation of torch uses one."""
        threads = torch.get_num_threads()
        if threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as self._pool:
                yield
        finally:
            self._pool = None
            torch.set_num_threads(threads)

    @property
    def are_several(self) -> bool:
        """Whether there is more than one thread."""
        return self._pool is not None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """What `function` gives for each item, in order."""
        return map(function, items) if self._pool is None else self._pool.map(function, items)

    def backward(
        self, loss_of: Callable[[Tensor, Tensor], Tensor], passes: Sequence[tuple[Tensor, Tensor]], dtype: torch.dtype
    ) -> list[Tensor]:
        """Sets each parameter's gradient to the sum over the passes.

        Args:
            loss_of: (images, targets) -> the loss of a pass, a scalar.
            dtype: of the inputs of each Dropout.

        Returns:
            The losses, detached.
        """

        def one(drawn: tuple[tuple[Tensor, Tensor], Mapping[Dropout, Tensor]]) -> tuple[Tensor, Sequence[Any]]:
            (images, targets), _of_this_thread.masks = drawn
            try:
                loss = loss_of(images, targets)
                return loss.detach(), torch.autograd.grad(loss, self._parameters, allow_unused=True)
            finally:
                _of_this_thread.masks = {}

        masks = [{each: each.draw(len(images), dtype) for each in self._dropouts} for images, _ in passes]
        losses = []
        for loss, gradients in self.map(one, zip(passes, masks, strict=True)):
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                _add(parameter, gradient)
            losses.append(loss)
        return losses


def _add(parameter: nn.Parameter, gradient: Tensor | None) -> None:
    """As backward() adds it up, in the parameter's own memory format, which fused optimizers expect."""
    if gradient is None:
        return
    if parameter.grad is not None:
        parameter.grad.add_(gradient)
    elif gradient.stride() == parameter.stride():
        parameter.grad = gradient
    else:
        parameter.grad = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(gradient)
