"""The training loop, the same for trials, baseline and final trainings.

    for epoch in Training(recipe, train, validation, spec=dataset.spec):
        print(epoch.number, epoch.metrics["train_loss"], epoch.metrics["val_accuracy"])

The split is one uint8 tensor on the device and a batch is an index lookup; there is no DataLoader and no per-image
Python. A Training knows nothing of Ray. Its state can be saved after any step and restored bit for bit (on the CPU).

On a CPU the passes of a batch are spread over as many threads as torch is set to use; networks for which this is
possible (lanes.py) come out the same, bit for bit, on any number of threads.

A GPU does many steps between two looks at their losses, and gathers their images at once. Order and augmentation are
drawn on the CPU, so that a seed gives the same batches on each device. Where the network draws as well (dropout), a GPU
does so with a generator of its own, and the batches of a CPU, which has one generator for both, are others.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from study.data.dataset import CIFAR10, ImageSpec, Split
from study.recipe import Recipe
from study.training import augmentation, devices, models
from study.training.checks import check_recipe
from study.training.lanes import Lanes
from study.training.metrics import measure, measured_each_epoch
from study.training.optimizers import OPTIMIZERS
from study.training.schedules import lr_factor

# torchvision.models, preprocessing of every ImageNet weights entry: mean and standard deviation of each channel.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# How many training images a network sees at its construction, for layers that are computed from data: so many, or as
# many pixels in fewer images that are larger.
SAMPLE_IMAGES, SAMPLE_PIXELS = 5000, 5000 * 32 * 32
# On a CPU the activations of a few images stay in its cache (benchmarks.passes): so few are evaluated at once, and a
# larger batch of a network without batch normalisation is trained in passes of so few, whose gradients add up.
# Of larger images fewer are evaluated at once, of as many pixels.
EVALUATION_BATCH = {"cpu": 100, "cuda": 500}
EVALUATION_PIXELS = 32 * 32
IMAGES_A_PASS = 64
# On a CPU, convolutions of so few channels over so few images take less time in torch's own kernels, and contiguous,
# than in oneDNN's (benchmarks.tiny_batches).
FEW_IMAGES, FEW_CHANNELS, FEW_PIXELS = 4, 16, 32 * 32
# How many images a GPU trains on between two looks at the losses; of larger images fewer, of as many pixels. A CPU
# looks after each step.
GPU_STRETCH_PIXELS = 8192 * 32 * 32


class Diverged(Exception):
    """The training loss is no longer finite."""

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        super().__init__(f"loss {loss} at epoch {epoch}, step {step}")
        self.epoch, self.step, self.loss = epoch, step, loss

    def __reduce__(self) -> tuple[Any, ...]:
        return Diverged, (self.epoch, self.step, self.loss)


def steps_of_an_epoch(images: int, batch_size: int, has_batch_norm: bool) -> int:
    """How many batches an epoch has.

    BatchNorm normalises by the mean and variance of the batch, which a few images give badly: with a last batch of 2 in
    898 images the training loss ended at 2 instead of 0.3 (docs/lab-notes.md). A network with it leaves out a last
    batch of less than half the size. The images are in another order each epoch, so each is still trained on.
    """
    full, rest = divmod(images, batch_size)
    if has_batch_norm and full and 2 * rest < batch_size:
        return full
    return full + (rest > 0)


@dataclass(frozen=True)
class Epoch:
    """One finished pass over the training images.

    Attributes:
        number: from 1.
        metrics: "train_loss" is the mean over all images of the pass of the loss that was minimised, each at the moment
            it was visited (as in the publication). "val_loss" (plain cross-entropy, nats) and "val_<name>" for each
            metric that is measured are computed after the pass over the whole validation split; None without one.
        seconds: of training and validation.
    """

    number: int
    metrics: dict[str, float | None]
    seconds: float


class Training:
    """One training of one Recipe; iterating it trains.

    Args:
        recipe: what to train, for how long, from which seed.
        train: images uint8 [N, H, W, C], labels int64 [N].
        validation: the same, or None to skip validation.
        spec: size, channels and classes of the images.
        device: "cpu" or a CUDA device.
        after_step: called with the Training whenever its state may be saved: on a CPU after every step.
        metrics: the names in METRICS to measure after each epoch.

    Raises:
        RecipeError: the recipe does not fit the images.
        WeightsError: pretrained weights that are not available.
        Diverged: from the iteration, at the first step whose loss is not finite, or after an epoch whose validation
            loss is not (without validation: one of the weights).
    """

    def __init__(
        self,
        recipe: Recipe,
        train: Split,
        validation: Split | None = None,
        *,
        spec: ImageSpec = CIFAR10,
        device: str | torch.device = "cpu",
        after_step: "Callable[[Training], None] | None" = None,
        metrics: Sequence[str] | None = None,
    ) -> None:
        check_recipe(recipe, spec)
        self.recipe, self.spec = recipe, spec
        self._metrics = measured_each_epoch() if metrics is None else tuple(metrics)
        self.device = torch.device(device)
        self._after_step = after_step
        on_cpu = self.device.type == "cpu"
        self.arithmetic = devices.arithmetic(recipe.precision, self.device)
        train.read_at_random()
        self._pixels, self._labels = _on_device(train, self.device)
        self._validation = None if validation is None else _on_device(validation, self.device)
        self._class_images = np.bincount(train.labels, minlength=spec.num_classes)
        self._class_weights = self._balance() if recipe.class_weights == "balanced" else None

        self._tiny = on_cpu and _is_tiny(recipe, spec)
        self._layout = torch.contiguous_format if self._tiny else torch.channels_last
        self._mean, self._std = (255 * torch.tensor(each).view(-1, 1, 1) for each in normalization(recipe, spec))
        self._generators: list[Tensor] = []  # the CPU's state, and a GPU's
        self.model = self._new_model(train)
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = OPTIMIZERS[recipe.optimizer].build(parameters, recipe)
        has_batch_norm = any(isinstance(each, _BatchNorm) for each in self.model.modules())
        self.steps = steps_of_an_epoch(len(train.labels), recipe.batch_size, has_batch_norm)
        self._trained = min(self.steps * recipe.batch_size, len(train.labels))  # images of an epoch
        whole_batch = not on_cpu or has_batch_norm
        self._pass = recipe.batch_size if whole_batch else min(recipe.batch_size, IMAGES_A_PASS)
        self._lanes = Lanes(self.model) if on_cpu and models.in_lanes(recipe) else None
        steps = 1 if on_cpu else max(1, GPU_STRETCH_PIXELS // (spec.height * spec.width * recipe.batch_size))
        self._stretch = steps * recipe.batch_size  # images between two looks at the losses
        self._draws_in_each_step = augmentation.draws_in_each_step(recipe)
        scale = self.arithmetic.loss_scale
        self._loss_scale = None if scale is None else torch.tensor(scale, device=self.device)

        self.epoch, self.step = 1, 0  # the epoch under way, and how many of its steps are done
        self._order = torch.empty(0, dtype=torch.int64, device=self.device)
        self._losses = torch.zeros(self.steps, dtype=torch.float64, device=self.device)
        self._seconds = 0.0

    def __iter__(self) -> Iterator[Epoch]:
        while self.epoch <= self.recipe.epochs:
            yield self._one_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors and plain values, loadable with weights_only."""
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
        """Restores what `state_dict` gave, in a Training of the same recipe and split, on whatever device."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self._seconds = state["epoch"], state["step"], state["seconds"]
        self._order = state["order"].to(self.device)
        self._losses = state["losses"].to(self.device)
        # A GPU's generator begins at the recipe's seed where the state was taken on a CPU.
        restored = [generator.cpu() for generator in state["generators"]]
        self._generators = [*restored, *self._generators[len(restored) :]][: len(self._generators)]

    def _new_model(self, train: Split) -> nn.Module:
        """The network with its first weights, which the recipe's seed determines."""
        with self._own_generator(seed=self.recipe.seed):
            sample = self._normalized(_sample(train, self.spec).permute(0, 3, 1, 2))
            model = models.build(self.recipe, self.spec, sample)
        self._mean, self._std = self._mean.to(self.device), self._std.to(self.device)
        on_device: nn.Module = model.to(self.device, memory_format=self._layout)  # type: ignore[call-overload]
        return on_device

    def _one_epoch(self) -> Epoch:
        started, before = time.perf_counter(), self._seconds
        number, size = self.epoch, self.recipe.batch_size
        self.model.train()
        threads = nullcontext() if self._lanes is None else self._lanes.running()
        with self._own_generator(), self._own_convolutions(), devices.without_tf32(self.device), threads:
            if self.step == 0:
                self._order = self._new_order()
            while self.step < self.steps:
                first = self.step
                last = min(first * size + self._stretch, self._trained)
                for pixels, labels in self._batches(self._order[first * size : last]):
                    self._losses[self.step] = self._train_on(pixels, labels)
                    self.step += 1
                self._raise_if_diverged(first)
                if self._after_step is not None:
                    self._keep_generators()
                    self._seconds = before + time.perf_counter() - started
                    self._after_step(self)
        sizes = torch.full_like(self._losses, size)
        sizes[-1] = self._trained - size * (self.steps - 1)
        train_loss = float(self._losses @ sizes) / self._trained
        validated = self._validate()
        val_loss = validated["val_loss"]
        if not math.isfinite(self._size_of_weights() if val_loss is None else val_loss):
            raise Diverged(number, self.steps, math.nan if val_loss is None else val_loss)
        seconds = before + time.perf_counter() - started
        self.epoch, self.step, self._seconds = number + 1, 0, 0.0
        return Epoch(number, {"train_loss": train_loss, **validated}, seconds)

    def _balance(self) -> Tensor:
        """Each class's weight float32 [classes], N / (classes x its images): scikit-learn's "balanced" (King & Zeng
        2001). A class without images gets 0."""
        images, classes = torch.from_numpy(self._class_images).double(), self.spec.num_classes
        weights = torch.where(images > 0, len(self._labels) / (classes * images.clamp(min=1)), 0)
        return weights.float().to(self.device)

    def _new_order(self) -> Tensor:
        """The images of one epoch, int64 [N]: a permutation, or N draws in which every class is equally likely."""
        number = len(self._labels)
        if self.recipe.batch_sampling == "balanced":
            weights = 1 / torch.from_numpy(self._class_images).double()[self._labels.cpu()]
            return torch.multinomial(weights, number, replacement=True).to(self.device)
        return torch.randperm(number).to(self.device)

    def _batches(self, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels uint8 [B, C, H, W] and labels int64 [B] of each batch of the images at `index`. They are gathered all
        at once, unless a step draws as well: what is drawn, and in which order, is the same on each device."""
        size = self.recipe.batch_size
        if len(index) <= size:  # to split it all the same is 1% of a CPU's step on few images
            yield augmentation.gather(self._pixels, index, self.recipe, self.epoch), self._labels[index]
            return
        for part in torch.split(index, size if self._draws_in_each_step else self._stretch):
            pixels = augmentation.gather(self._pixels, part, self.recipe, self.epoch)
            yield from zip(torch.split(pixels, size), torch.split(self._labels[part], size), strict=True)

    @contextmanager
    def _own_generator(self, seed: int | None = None) -> Iterator[None]:
        """Inside, torch's global generators belong to this Training: initialisation, order, augmentation and dropout
        draw from them, and the rest of the process draws as if there were no Training."""
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

    def _train_on(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """One step on a batch, pixels uint8 [B, C, H, W] and labels int64 [B]; the loss before it, a detached scalar on
        the device."""
        recipe = self.recipe
        progress = (self.epoch - 1 + self.step / self.steps) / recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * lr_factor(recipe, progress)
        images = self._normalized(augmentation.augment(pixels, recipe, "pixels"))
        images = augmentation.augment(images, recipe, "normalized")
        images, targets = augmentation.blend(images, labels, recipe, self.spec.num_classes)
        self.optimizer.zero_grad()
        losses = self._backward(images, targets)
        if self._loss_scale is not None:
            torch._foreach_div_(
                [each.grad for each in self.model.parameters() if each.grad is not None], self._loss_scale
            )
        self.optimizer.step()
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _backward(self, images: Tensor, targets: Tensor) -> list[Tensor]:
        """Sets the gradients of a batch; the losses of its passes, detached, which add up to that of the batch."""

        def loss_of(part: Tensor, wanted: Tensor) -> Tensor:
            with self._autocast():
                loss = self._loss(self.model(part), wanted)
            return loss if len(part) == len(images) else loss * (len(part) / len(images))

        passes = list(zip(torch.split(images, self._pass), torch.split(targets, self._pass), strict=True))
        if len(passes) > 1 and self._lanes is not None and self._lanes.are_several:
            return self._lanes.backward(loss_of, passes, self.arithmetic.autocast or torch.float32)
        losses = []
        for part, wanted in passes:
            loss = loss_of(part, wanted)
            loss.backward(self._loss_scale)  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return losses

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean over the images; with class weights the weighted sum over their number, so that the passes of a
        batch add up. (torch divides by the sum of the weights, which differs from pass to pass.)"""
        smoothing = self.recipe.label_smoothing
        if self._class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        weights = self._class_weights
        return F.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="sum") / len(logits)

    def _autocast(self) -> AbstractContextManager[None]:
        """Mixed precision where the recipe says so."""
        # A disabled autocast costs 2% of a step on few images. Its cache of weights is one for all threads.
        dtype = self.arithmetic.autocast
        cached = None if self._lanes is None else False
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype, cache_enabled=cached)

    def _normalized(self, pixels: Tensor) -> Tensor:
        """uint8 or float32 [B, C, H, W] in [0, 255] to float32 of the same shape, in the network's memory format."""
        images = pixels.to(torch.float32, copy=True, memory_format=self._layout)
        return images.sub_(self._mean).div_(self._std)

    def _raise_if_diverged(self, first: int) -> None:
        """Looks at the losses of the steps from `first` on; on a GPU this waits for them."""
        bad = (~self._losses[first : self.step].isfinite()).nonzero()
        if len(bad):
            step = first + int(bad[0]) + 1
            raise Diverged(self.epoch, step, float(self._losses[step - 1]))

    def _size_of_weights(self) -> float:
        """The sum of the largest weights; not finite where the last step of an epoch has overflowed a weight, which no
        later loss may show."""
        return float(torch.stack([parameter.detach().abs().max() for parameter in self.model.parameters()]).sum())

    def _validate(self) -> dict[str, float | None]:
        if self._validation is None:
            return dict.fromkeys(("val_loss", *(f"val_{name}" for name in self._metrics)))
        pixels, labels = self._validation
        logits = self._logits(pixels)
        # In float64 no two logits that differ become equal probabilities, so that predictions are those of the logits.
        probabilities = logits.double().softmax(1).cpu().numpy()
        loss = float(F.cross_entropy(logits, labels))
        if not math.isfinite(loss):
            return {"val_loss": loss}
        return {"val_loss": loss, **measure(labels.cpu().numpy(), probabilities, self._metrics)}

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 [N, classes] from the network as it stands, for images uint8 [N, H, W, C]."""
        probabilities: NDArray[np.float32] = self._logits(devices.as_tensor(images)).softmax(1).cpu().numpy()
        return probabilities

    def _logits(self, pixels: Tensor) -> Tensor:
        """Float32 [N, classes] for pixels uint8 [N, H, W, C]."""
        self.model.eval()
        as_many = EVALUATION_BATCH[self.device.type] * EVALUATION_PIXELS // (self.spec.height * self.spec.width)
        size = max(1, min(EVALUATION_BATCH[self.device.type], as_many))
        batches = torch.split(pixels.permute(0, 3, 1, 2), size)
        if self._lanes is None:
            return torch.cat([self._logits_of(batch) for batch in batches]).float()
        with self._lanes.running():
            return torch.cat(list(self._lanes.map(self._logits_of, batches))).float()

    def _logits_of(self, batch: Tensor) -> Tensor:
        """[B, classes] for pixels uint8 [B, C, H, W]."""
        with torch.inference_mode(), devices.without_tf32(self.device), self._autocast():
            return self.model(self._normalized(batch.to(self.device)))  # type: ignore[no-any-return]


def normalization(recipe: Recipe, spec: ImageSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for pixels in [0, 1].

    Of a published RGB pair grey images get the mean over the channels.
    """
    mean, std = {
        "half": ((0.5,) * spec.channels, (0.5,) * spec.channels),
        "dataset": (spec.mean, spec.std),
        "cifar10": (CIFAR10.mean, CIFAR10.std),
        "imagenet": IMAGENET,
    }[recipe.normalization]
    if len(mean) != spec.channels:
        return (sum(mean) / len(mean),) * spec.channels, (sum(std) / len(std),) * spec.channels
    return mean, std


def _is_tiny(recipe: Recipe, spec: ImageSpec) -> bool:
    widest = max(map(int, recipe.channels.split("-")))
    few_pixels = spec.height * spec.width <= FEW_PIXELS
    return recipe.model == "cnn" and recipe.batch_size <= FEW_IMAGES and widest <= FEW_CHANNELS and few_pixels


def _sample(train: Split, spec: ImageSpec) -> Tensor:
    """Some training images uint8 [n, H, W, C]: the first ones, or, where these do not show every class (as in a split
    that is sorted by class), evenly spaced ones."""
    number = max(1, min(SAMPLE_IMAGES, SAMPLE_PIXELS // (spec.height * spec.width)))
    if np.array_equal(np.unique(train.labels[:number]), np.unique(train.labels)):
        return devices.as_tensor(train.images)[:number]
    return devices.as_tensor(train.images)[:: math.ceil(len(train.images) / number)]


def _on_device(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [N, H, W, C] and labels int64 [N], sharing the split's memory on the CPU."""
    return devices.on_device(split.images, device), devices.on_device(split.labels, device)
