"""What differs between a CPU and a GPU: arithmetic, where the images are, and how much memory a training may take."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

# Float16 has no value between 0 and 6e-8. A batch's mean loss has gradients of that size; times this they are kept
# (torch.amp's GradScaler does the same with a scale that changes, and looks at the gradients of every step for it).
LOSS_SCALE = 1024.0
# How many arrays a process keeps on its GPU: images and labels, of training and of validation.
UPLOADS = 4
# What torch takes on a GPU beside its tensors: the CUDA context and the kernels of its libraries. An estimate.
CONTEXT_BYTES = 500e6


@dataclass(frozen=True)
class Arithmetic:
    """In what a network is computed on a device.

    Attributes:
        name: for the event log.
        autocast: the type of mixed precision, None for float32 throughout. Weights are float32 in any case.
        loss_scale: by which the gradients are multiplied on their way to the weights, None for 1.
    """

    name: str
    autocast: torch.dtype | None = None
    loss_scale: float | None = None


def arithmetic(precision: str, device: torch.device) -> Arithmetic:
    """What a Recipe's `precision` means on `device`: on GPUs without bfloat16, such as T4 and V100, its place is taken
    by float16 with a fixed loss scale."""
    if precision == "float32":
        return Arithmetic("float32" if device.type == "cpu" else "float32 without TF32")
    if device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False):
        return Arithmetic("bfloat16", torch.bfloat16)
    return Arithmetic(f"float16, loss times {LOSS_SCALE:g}", torch.float16, LOSS_SCALE)


@contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Inside, a GPU multiplies float32 as float32. torch's own default is so for matrices, but not for convolutions."""
    backends: list[Any] = [] if device.type == "cpu" else [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def describe(device: str, used: Arithmetic | None) -> str:
    """The `device` of an epoch in the event log: "cpu", or "cuda (Tesla T4, float16, loss times 1024)".

    Args:
        used: None where a trainer of the user's own decides.
    """
    if device == "cpu":
        return device
    return f"{device} ({', '.join([torch.cuda.get_device_name(device), *([used.name] if used else [])])})"


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor on the CPU that shares the array's memory, which nothing may write to."""
    with warnings.catch_warnings():
        # Arrays from Ray's object store are shared between processes and so read-only.
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(array)


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """`array` on `device`; on the CPU its own memory.

    On a GPU an array that cannot change, as those of Ray's object store, is copied once a process, not once a trial.
    """
    if device.type == "cpu":
        return as_tensor(array)
    if array.flags.writeable:
        return as_tensor(array).to(device)
    key = (array.ctypes.data, array.shape, array.strides, array.dtype.str, str(device))
    if key not in _uploads:
        while len(_uploads) >= UPLOADS:
            del _uploads[next(iter(_uploads))]
        _uploads[key] = (array, as_tensor(array).to(device))
    return _uploads[key][1]


# Address, shape and so on -> the array, which keeps the address its own, and its copy on the GPU.
_uploads: dict[tuple[Any, ...], tuple[NDArray[Any], Tensor]] = {}


def limit_memory(share: float) -> None:
    """Lets this process take `share` of the current GPU's memory and no more, and frees what an earlier training left.

    A training that needs more gets torch's OutOfMemoryError, and not one of its neighbours.
    """
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        memory_fraction(share, torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    )


def memory_fraction(share: float, total: float) -> float:
    """The fraction of a GPU's `total` bytes that the tensors of a process with `share` of it may take."""
    return 1.0 if share >= 1 else max(share / 2, share - CONTEXT_BYTES / total)
