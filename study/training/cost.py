"""What a network costs in use: parameters, multiply-adds, size on disk, and time for a batch.

count_costs(network, CIFAR10).multiply_adds
measure_costs(network, CIFAR10).seconds_batch_64
"""

import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import median
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.data.dataset import ImageSpec
from study.errors import ModelError
from study.recipe import Recipe
from study.training import models

SMALL_BATCH, LARGE_BATCH = 1, 64
# The first calls allocate memory and choose kernels.
WARM_UP_CALLS = 2
# Timed calls of each batch size: at least so many, and until so many seconds have passed.
LEAST_CALLS, LEAST_SECONDS = 5, 0.2


@dataclass(frozen=True)
class Counts:
    """What can be counted without measuring time.

    Attributes:
        parameters: all of them, trained and frozen.
        multiply_adds: of one image, in convolutions and matrix products; half the FLOPs of
            torch.utils.flop_counter. Other operations (normalisation, activations, pooling) are not counted, as in
            the papers that report multiply-adds.
        file_bytes: of the state_dict as torch.save writes it.
    """

    parameters: int
    multiply_adds: int
    file_bytes: int


@dataclass(frozen=True)
class Costs(Counts):
    """What a network costs on one machine.

    Attributes:
        seconds_batch_1, seconds_batch_64: median time of one call on normalised images.
        device, threads: where the time was measured; threads are torch's.
    """

    seconds_batch_1: float
    seconds_batch_64: float
    device: str
    threads: int

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json."""
        return asdict(self)


def count_costs(network: nn.Module, spec: ImageSpec) -> Counts:
    """Parameters, multiply-adds and file size of `network`, which takes float32 [B, C, H, W], on its own device.

    Also of a network on the meta device, which has shapes and no values.
    """
    training = network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(_images(network, spec, 1))
    network.train(training)
    parameters = sum(each.numel() for each in network.parameters())
    return Counts(parameters, counter.get_total_flops() // 2, _file_bytes(network))


def _file_bytes(network: nn.Module) -> int:
    """The size of the file that torch.save would write; its content does not change it."""
    state = network.state_dict()
    for name, each in state.items():
        state[name] = torch.empty_like(each, device="cpu") if each.is_meta else each
    written = _Size()
    torch.save(state, cast(BinaryIO, written))
    return written.bytes


class _Size(io.RawIOBase):
    """A file that keeps nothing but its size."""

    def __init__(self) -> None:
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        written = memoryview(content).nbytes
        self.bytes += written
        return written


def measure_costs(network: nn.Module, spec: ImageSpec) -> Costs:
    """All costs of `network`, which takes float32 [B, C, H, W]; takes about half a second for a small one."""
    return Costs(
        **asdict(count_costs(network, spec)),
        seconds_batch_1=_seconds(network, spec, SMALL_BATCH),
        seconds_batch_64=_seconds(network, spec, LARGE_BATCH),
        device=_device(network).type,
        threads=torch.get_num_threads(),
    )


def costs_of(recipes: Sequence[Recipe], spec: ImageSpec) -> list[Counts]:
    """Parameters, multiply-adds and file size of the network of each recipe, in order.

    Networks are built without values, so that a thousand recipes take seconds; recipes that differ only in how they
    are trained share a network.

    Raises:
        StudyError: a network of the user's own cannot be built.
    """
    return [_count(_network_only(recipe), spec) for recipe in recipes]


def _network_only(recipe: Recipe) -> Recipe:
    """The recipe with everything at its default that does not change the shape of its network."""
    # Weights from a library have the shapes of fresh ones.
    used = [name for name in models.family(recipe.model).uses if name != "pretrained"]
    options = {f"model.{name}": value for name, value in recipe.model_options.items()}
    return Recipe().with_fields({"model": recipe.model, **{name: getattr(recipe, name) for name in used}, **options})


@lru_cache(maxsize=4096)
def _count(recipe: Recipe, spec: ImageSpec) -> Counts:
    shape = 1, spec.channels, spec.height, spec.width
    try:
        with torch.device("meta"):
            return count_costs(models.build(recipe, spec, torch.empty(shape)), spec)
    except (NotImplementedError, RuntimeError, ModelError):
        # A network that looks at values while it is built or called, which meta tensors do not have.
        with torch.random.fork_rng():
            return count_costs(models.build(recipe, spec, torch.zeros(shape)), spec)


def _seconds(network: nn.Module, spec: ImageSpec, batch: int) -> float:
    """Median seconds of one call."""
    images, on_gpu = _images(network, spec, batch), _device(network).type == "cuda"
    training = network.training
    network.eval()
    took: list[float] = []
    with torch.inference_mode():
        for _ in range(WARM_UP_CALLS):
            network(images)
        while len(took) < LEAST_CALLS or sum(took) < LEAST_SECONDS:
            if on_gpu:
                torch.cuda.synchronize()
            started = time.perf_counter()
            network(images)
            if on_gpu:
                torch.cuda.synchronize()
            took.append(time.perf_counter() - started)
    network.train(training)
    return median(took)


def _images(network: nn.Module, spec: ImageSpec, batch: int) -> Tensor:
    return torch.zeros(batch, spec.channels, spec.height, spec.width, device=_device(network))


def _device(network: nn.Module) -> torch.device:
    return next((each.device for each in network.parameters()), torch.device("cpu"))
