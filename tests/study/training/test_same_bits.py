"""What CIFAR-10 trainings gave before the loop took other images: the same bits on the same processor and torch.

The digests were taken at commit 39c9354, before any of its lines changed.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from study.data.dataset import Split
from study.recipe import BASELINE, RECIPES, Recipe
from study.training.loop import Epoch, Training

EVERYTHING = {"flip": "alternating", "translate": 4, "jitter": 0.3, "cutout": 8, "mixup": 0.4, "cutmix": 0.7}
CASES = {
    "baseline": BASELINE.with_fields({"epochs": 2}),
    "tutorial": RECIPES["tutorial"].with_fields({"epochs": 2}),
    "fast": RECIPES["fast"].with_fields({"epochs": 2, "channels": "24-16-16-16", "batch_size": 64}),
    "augmented": Recipe(
        channels="8-8", kernel=5, padding="same", hidden="32-16", batch_norm=True, dropout=0.2, batch_size=100,
        schedule="one_cycle", normalization="imagenet", label_smoothing=0.1, epochs=2, seed=3, **EVERYTHING,
    ),
    "passes": Recipe(batch_size=150, optimizer="nesterov", schedule="cosine", warmup=0.2, flip="random", epochs=2),
    "adam": Recipe(optimizer="adam", schedule="step", normalization="cifar10", weight_decay=1e-3, epochs=2),
    "adamw": Recipe(optimizer="adamw", schedule="triangular", weight_decay=1e-2, epochs=2),
    "rmsprop": Recipe(optimizer="rmsprop", precision="bfloat16", cutout=6, mixup=0.2, epochs=2),
    "resnet18": Recipe(model="resnet18", batch_size=150, epochs=1, lr=0.01),
    "vgg11_bn": Recipe(model="vgg11_bn", batch_size=150, epochs=1, lr=0.01, dropout=0.1),
}  # fmt: skip

TAKEN_WITH = ("2.15.0+cu132", "AVX512")
# Of the weights, the losses and the accuracies; then the training loss of each epoch, for other processors.
EXPECTED = {
    "baseline": ("cb813c50f6f0bb72", [2.3044456481933593, 2.3030138619740805]),
    "tutorial": ("a7e6effed065042e", [2.304715865453084, 2.3005734316507973]),
    "fast": ("18cc53bd11d86f3a", [2.301239121754964, 2.2546734968821207]),
    "augmented": ("d4be357425fb69c6", [2.3161171277364097, 2.3240929444630942]),
    "passes": ("f4cf1e42bd15e913", [2.3035913705825806, 2.302428126335144]),
    "adam": ("2a07106dacd17d0e", [2.2897532113393146, 2.1938024870554607]),
    "adamw": ("4c30f753870eb285", [2.2966276359558107, 2.237727305094401]),
    "rmsprop": ("6eb3dffbe4d37504", [4.722098519007365, 2.306283718744914]),
    "resnet18": ("ed0cd1adeb226bf0", [2.394350290298462]),
    "vgg11_bn": ("98b5da1efceefea6", [2.3039777278900146]),
}
EXPECTED_PREDICTIONS = "a87bc60c47c6ea0b"
SAME_MACHINE = (torch.__version__, torch.backends.cpu.get_cpu_capability()) == TAKEN_WITH


def split(synthetic: Split, start: int, number: int) -> Split:
    return Split(synthetic.images[start : start + number], synthetic.labels[start : start + number])


def digest(training: Training, epochs: list[Epoch]) -> str:
    found = hashlib.sha256()
    for value in training.model.state_dict().values():
        found.update(value.contiguous().numpy().tobytes())
    for epoch in epochs:
        measured = [epoch.metrics[name] for name in ("train_loss", "val_loss", "val_accuracy")]
        found.update(np.array(measured, dtype=np.float64).tobytes())
    return found.hexdigest()[:16]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """More threads add up in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", CASES)
def test_a_training_on_cifar10_gives_the_bits_that_it_always_gave(synthetic: Split, name: str) -> None:
    training = Training(CASES[name], split(synthetic, 0, 300), split(synthetic, 1000, 200))
    epochs = list(training)
    same, losses = EXPECTED[name]
    assert [epoch.metrics["train_loss"] for epoch in epochs] == pytest.approx(losses, rel=0.05)
    if SAME_MACHINE:
        assert digest(training, epochs) == same


@pytest.mark.skipif(not SAME_MACHINE, reason=f"the digest is of {TAKEN_WITH}")
def test_the_predictions_are_the_bits_that_they_always_were(synthetic: Split) -> None:
    training = Training(CASES["fast"], split(synthetic, 0, 300))
    list(training)
    predicted = training.predict(split(synthetic, 1000, 200).images)
    assert hashlib.sha256(predicted.tobytes()).hexdigest()[:16] == EXPECTED_PREDICTIONS
