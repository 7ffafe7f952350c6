"""The training loop: one for trial, baseline and final.

    for epoch in Training(recipe, train, validation):
        print(epoch.number, epoch.train_loss, epoch.val_accuracy)

The split is one uint8 tensor on the device and a batch is an index lookup; there is no DataLoader and no per-image
Python. A Training knows nothing of Ray. Its state can be taken after any step and put back bit for bit (on the CPU).
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from study.data import Split
from study.recipe import Recipe
from study.training import augmentation as augment
from study.training import models

# Mean and standard deviation of each channel, for pixels in [0, 1].
NORMALIZATION = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # Over the 50,000 training images; published with Krizhevsky's cuda-convnet recipes and rounded the same way since.
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    # torchvision.models, preprocessing of every ImageNet weights entry.
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
# On a CPU the activations of a few images stay in its cache (benchmarks.passes): so few are evaluated at once, and a
# larger batch of a network without batch normalisation is trained in passes of so few, whose gradients add up.
EVALUATION_BATCH = {"cpu": 100, "cuda": 500}
IMAGES_A_PASS = 64
# On a CPU, convolutions of so few channels over so few images take less time in torch's own kernels, and contiguous,
# than in oneDNN's (benchmarks.tiny_batches).
FEW_IMAGES, FEW_CHANNELS = 4, 16
# How many steps a GPU may run ahead before the losses are looked at; a CPU looks at each one.
GPU_STEPS_BETWEEN_CHECKS = 50


class Diverged(Exception):
    """The training loss is no longer finite."""

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        super().__init__(f"loss {loss} at epoch {epoch}, step {step}")
        self.epoch, self.step, self.loss = epoch, step, loss

    def __reduce__(self) -> tuple[Any, ...]:
        return Diverged, (self.epoch, self.step, self.loss)


@dataclass(frozen=True)
class Epoch:
    """One finished pass over the training images.

    train_loss is the mean over all images of the pass of the loss that was minimised, each at the moment it was visited
    (the reading of the publication). val_loss (plain cross-entropy) and val_accuracy (a fraction) are computed after
    the pass over the whole validation split; None without one. seconds covers training and validation.
    """

    number: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float


class Training:
    """One training run of one Recipe; iterating it trains.

    Args:
        recipe: what to train, for how long, from which seed.
        train: images uint8 [N, 32, 32, 3], labels int64 [N].
        validation: the same, or None to train without looking.
        device: "cpu" or a CUDA device. Mixed precision is used on CUDA only.
        after_step: called after every step, with the Training in a state that can be saved.

    Raises:
        Diverged: from the iteration, at the first step whose loss is not finite, or after an epoch whose validation
            loss is not (without validation: one of the weights).
    """

    def __init__(
        self,
        recipe: Recipe,
        train: Split,
        validation: Split | None = None,
        *,
        device: str | torch.device = "cpu",
        after_step: "Callable[[Training], None] | None" = None,
    ) -> None:
        self.recipe = recipe
        self.device = torch.device(device)
        self.steps = math.ceil(len(train.labels) / recipe.batch_size)
        self._after_step = after_step
        self._pixels, self._labels = _on_device(train, self.device)
        self._validation = None if validation is None else _on_device(validation, self.device)
        mean, std = NORMALIZATION[recipe.normalization]
        self._mean = 255 * torch.tensor(mean, device=self.device).view(3, 1, 1)
        self._std = 255 * torch.tensor(std, device=self.device).view(3, 1, 1)

        self._tiny = self.device.type == "cpu" and _is_tiny(recipe)
        self._layout = torch.contiguous_format if self._tiny else torch.channels_last
        with self._own_generator(seed=recipe.seed):
            sample = self._normalized(self._pixels[:5000].permute(0, 3, 1, 2))
            model = models.build(recipe, sample.cpu())
        self.model: nn.Module = model.to(self.device).to(memory_format=self._layout)
        self.optimizer = _optimizer(recipe, self.model)
        whole_batch = self.device.type != "cpu" or any(isinstance(each, _BatchNorm) for each in self.model.modules())
        self._pass = recipe.batch_size if whole_batch else min(recipe.batch_size, IMAGES_A_PASS)

        self.epoch, self.step = 1, 0  # the epoch under way, and how many of its steps are done
        self._order = torch.empty(0, dtype=torch.int64, device=self.device)
        self._losses = torch.zeros(self.steps, dtype=torch.float64, device=self.device)
        self._seconds = 0.0

    def __iter__(self) -> Iterator[Epoch]:
        while self.epoch <= self.recipe.epochs:
            yield self._one_epoch()

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on: tensors and plain values only (weights-only loadable)."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "order": self._order,
            "losses": self._losses,
            "seconds": self._seconds,
            "generators": self._generators,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave, in a Training of the same recipe and split."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self._seconds = state["epoch"], state["step"], state["seconds"]
        self._order = state["order"].to(self.device)
        self._losses = state["losses"].to(self.device)
        self._generators = [generator.cpu() for generator in state["generators"]]

    def _one_epoch(self) -> Epoch:
        started, before = time.perf_counter(), self._seconds
        number, size = self.epoch, self.recipe.batch_size
        self.model.train()
        with self._own_generator(), self._own_convolutions():
            if self.step == 0:
                self._order = torch.randperm(len(self._labels), device=self.device)
            while self.step < self.steps:
                index = self._order[self.step * size : (self.step + 1) * size]
                self._losses[self.step] = self._train_on(index)
                self.step += 1
                self._raise_if_diverged()
                if self._after_step is not None:
                    self._keep_generators()
                    self._seconds = before + time.perf_counter() - started
                    self._after_step(self)
        sizes = torch.full_like(self._losses, size)
        sizes[-1] = len(self._labels) - size * (self.steps - 1)
        train_loss = float(self._losses @ sizes) / len(self._labels)
        val_loss, val_accuracy = self._validate()
        if not math.isfinite(self._size_of_weights() if val_loss is None else val_loss):
            raise Diverged(number, self.steps, math.nan if val_loss is None else val_loss)
        seconds = before + time.perf_counter() - started
        self.epoch, self.step, self._seconds = number + 1, 0, 0.0
        return Epoch(number, train_loss, val_loss, val_accuracy, seconds)

    @contextmanager
    def _own_generator(self, seed: int | None = None) -> Iterator[None]:
        """Inside, torch's global generators are this Training's alone: initialisation, order, augmentation and dropout
        all draw from them, and what the rest of the process draws is not disturbed."""
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            if seed is not None:
                torch.manual_seed(seed)
            else:
                torch.set_rng_state(self._generators[0])
                for state in self._generators[1:]:
                    torch.cuda.set_rng_state(state, self.device)
            yield
            self._keep_generators()

    @contextmanager
    def _own_convolutions(self) -> Iterator[None]:
        onednn: Any = torch.backends.mkldnn
        before = onednn.enabled
        onednn.enabled = before and not self._tiny
        try:
            yield
        finally:
            onednn.enabled = before

    def _keep_generators(self) -> None:
        self._generators = [torch.get_rng_state()]
        if self.device.type == "cuda":
            self._generators.append(torch.cuda.get_rng_state(self.device))

    def _train_on(self, index: Tensor) -> Tensor:
        """One step on the images at `index` (int64 [B]); the loss before it, a detached scalar on the device."""
        recipe = self.recipe
        progress = (self.epoch - 1 + self.step / self.steps) / recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * lr_factor(recipe, progress)
        pixels = augment.gather(self._pixels, index, recipe, self.epoch)
        images = augment.cutout_square(self._normalized(augment.jitter(pixels, recipe)), recipe)
        images, targets = augment.blend(images, self._labels[index], recipe)
        self.optimizer.zero_grad()
        losses = []
        for part, wanted in zip(torch.split(images, self._pass), torch.split(targets, self._pass), strict=True):
            with self._autocast():
                loss = F.cross_entropy(self.model(part), wanted, label_smoothing=recipe.label_smoothing)
            if len(part) < len(images):
                loss = loss * (len(part) / len(images))
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        self.optimizer.step()
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _autocast(self) -> AbstractContextManager[None]:
        """Mixed precision on a GPU; on a CPU where the recipe has it, for which matrix units that newer ones have."""
        if self.device.type == "cuda":
            return torch.autocast("cuda")
        # One that is not enabled costs 2% of a step on few images.
        return torch.autocast("cpu", torch.bfloat16) if self.recipe.precision == "bfloat16" else nullcontext()

    def _normalized(self, pixels: Tensor) -> Tensor:
        """uint8 or float32 [B, 3, 32, 32] in [0, 255] to float32 of the same shape, in the network's memory format."""
        images = pixels.to(torch.float32, copy=True, memory_format=self._layout)
        return images.sub_(self._mean).div_(self._std)

    def _raise_if_diverged(self) -> None:
        on_gpu = self.device.type == "cuda"
        if on_gpu and self.step % GPU_STEPS_BETWEEN_CHECKS and self.step < self.steps:
            return
        recent = self._losses[max(0, self.step - GPU_STEPS_BETWEEN_CHECKS) if on_gpu else self.step - 1 : self.step]
        bad = (~recent.isfinite()).nonzero()
        if len(bad):
            step = self.step - len(recent) + int(bad[0]) + 1
            raise Diverged(self.epoch, step, float(self._losses[step - 1]))

    def _size_of_weights(self) -> float:
        """Not finite where the last step of an epoch has overflowed a weight, which no later loss may show."""
        return float(torch.stack([parameter.detach().abs().max() for parameter in self.model.parameters()]).sum())

    def _validate(self) -> tuple[float | None, float | None]:
        if self._validation is None:
            return None, None
        pixels, labels = self._validation
        logits = self.predict(pixels)
        return float(F.cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean())

    def predict(self, pixels: Tensor) -> Tensor:
        """Logits float32 [N, 10] of the network as it stands, for pixels uint8 [N, 32, 32, 3]."""
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            images, size = pixels.to(self.device).permute(0, 3, 1, 2), EVALUATION_BATCH[self.device.type]
            logits = [self.model(self._normalized(batch)) for batch in torch.split(images, size)]
            return torch.cat(logits).float()


def _is_tiny(recipe: Recipe) -> bool:
    widest = max(map(int, recipe.channels.split("-")))
    return recipe.model == "cnn" and recipe.batch_size <= FEW_IMAGES and widest <= FEW_CHANNELS


def lr_factor(recipe: Recipe, progress: float) -> float:
    """What the peak learning rate is multiplied by, at `progress` in [0, 1) of the whole run.

    Over the first `warmup` share it rises linearly from 1/25 to 1 (25: the default div_factor of torch's OneCycleLR);
    the schedule's shape spans what is left. one_cycle is the cosine with a rise of 0.3 where `warmup` names none
    (Smith & Topin 2017, arXiv:1708.07120); triangular falls linearly after a rise of 0.23, and to 0.07 of the peak
    (Jordan 2024, arXiv:2404.00498).
    """
    warmup = recipe.warmup or {"one_cycle": 0.3, "triangular": 0.23}.get(recipe.schedule, 0.0)
    if progress < warmup:
        return 1 / 25 + (1 - 1 / 25) * progress / warmup
    decay = (progress - warmup) / (1 - warmup)
    match recipe.schedule:
        case "constant":
            return 1.0
        case "step":
            return recipe.gamma ** ((decay >= 0.5) + (decay >= 0.75))
        case "triangular":
            return 1 - (1 - 0.07) * decay
        case _:  # cosine and one_cycle
            return (1 + math.cos(math.pi * decay)) / 2


def _optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    match recipe.optimizer:
        case "sgd" | "nesterov":
            nesterov = recipe.optimizer == "nesterov" and recipe.momentum > 0
            return torch.optim.SGD(parameters, **common, momentum=recipe.momentum, nesterov=nesterov, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, **common, betas=(recipe.beta1, recipe.beta2), fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, **common, betas=(recipe.beta1, recipe.beta2), fused=True)
        case _:
            return torch.optim.RMSprop(parameters, **common, alpha=recipe.beta2, momentum=recipe.momentum, foreach=True)


def _on_device(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [N, 32, 32, 3] and labels int64 [N], sharing the split's memory on the CPU."""
    with warnings.catch_warnings():
        # Arrays from Ray's object store are shared between processes and so read-only; nothing here writes to them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(split.images).to(device), torch.from_numpy(split.labels).to(device)
