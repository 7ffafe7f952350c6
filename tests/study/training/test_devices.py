"""What a GPU does otherwise, as far as a CPU can tell: with fake tensors and on torch's meta device."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily

from study.data.dataset import ImageSpec, Split
from study.recipe import RECIPES, Recipe
from study.training import augmentation, devices, models
from study.training.devices import Arithmetic, arithmetic, memory_fraction, on_device, without_tf32
from study.training.loop import Training

CPU, CUDA, META = torch.device("cpu"), torch.device("cuda"), torch.device("meta")
SMALL = Recipe(channels="4-4", hidden="16", batch_size=16, lr=0.01, flip="random", translate=2, epochs=2)
EVERYTHING = {"jitter": 0.3, "cutout": 8, "mixup": 0.4, "cutmix": 0.7}
FP16 = Arithmetic("float16", torch.float16, devices.LOSS_SCALE)


@pytest.fixture(scope="module")
def train(synthetic: Split) -> Split:
    return Split(synthetic.images[:150], synthetic.labels[:150])


def weights(training: Training) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in training.model.state_dict().values()])


# Arithmetic


@pytest.mark.parametrize(
    ("precision", "device", "has_bfloat16", "expected"),
    [
        ("float32", CPU, False, Arithmetic("float32")),
        ("float32", CUDA, True, Arithmetic("float32 without TF32")),
        ("bfloat16", CPU, False, Arithmetic("bfloat16", torch.bfloat16)),
        ("bfloat16", CUDA, True, Arithmetic("bfloat16", torch.bfloat16)),
        ("bfloat16", CUDA, False, Arithmetic("float16, loss times 1024", torch.float16, 1024.0)),
    ],
)
def test_a_gpu_computes_in_the_recipes_precision_and_without_bfloat16_in_scaled_float16(
    monkeypatch: pytest.MonkeyPatch, precision: str, device: torch.device, has_bfloat16: bool, expected: Arithmetic
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert arithmetic(precision, device) == expected


def test_tf32_is_off_while_a_gpu_trains_and_then_as_it_was() -> None:
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    torch.backends.cuda.matmul.allow_tf32 = True
    with without_tf32(CUDA):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_a_loss_scale_that_is_a_power_of_two_changes_no_bit_of_a_float32_training(train: Split) -> None:
    plain, scaled = Training(SMALL, train), Training(SMALL, train)
    scaled.arithmetic = Arithmetic("float32", None, devices.LOSS_SCALE)
    scaled._loss_scale = torch.tensor(devices.LOSS_SCALE)
    assert [epoch.metrics for epoch in plain] == [epoch.metrics for epoch in scaled]
    assert torch.equal(weights(plain), weights(scaled))


@pytest.fixture(scope="module")
def flushed(synthetic: Split) -> dict[float | None, float]:
    """The share of the gradients of `fast` at batch 1,024 that float16 makes zero, by loss scale."""
    fields = {"batch_size": 1024, "channels": "8-8-8-8", "precision": "float32"}
    images = np.tile(synthetic.images, (2, 1, 1, 1))[:1024]
    training = Training(RECIPES["fast"].with_fields(fields), Split(images, np.tile(synthetic.labels, 2)[:1024]))
    found = {}
    for scale in (1.0, devices.LOSS_SCALE):
        training.model.zero_grad()
        logits = training.model(training._normalized(training._pixels.permute(0, 3, 1, 2)))
        logits.retain_grad()
        training._loss(logits, training._labels).backward(torch.tensor(scale))
        gradients = torch.cat([logits.grad.flatten(), *(each.grad.flatten() for each in _trained(training))])
        kept = gradients[gradients != 0]
        found[scale] = float((kept.half() == 0).float().mean())
        assert kept.half().isfinite().all()
    return found


def _trained(training: Training) -> list[torch.nn.Parameter]:
    return [each for each in training.model.parameters() if each.requires_grad]


def test_the_loss_scale_keeps_the_gradients_that_float16_would_make_zero(flushed: dict[float, float]) -> None:
    assert flushed[devices.LOSS_SCALE] < 0.001
    assert flushed[1.0] > 10 * flushed[devices.LOSS_SCALE]


# Draws


def test_all_draws_of_a_step_are_from_the_cpus_generator() -> None:
    recipe, states = SMALL.with_fields(EVERYTHING), []
    for device in (CPU, META):
        torch.manual_seed(0)
        draw_a_step(recipe, device)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert not torch.equal(states[0], torch.manual_seed(0).get_state())


def draw_a_step(recipe: Recipe, device: torch.device) -> None:
    pixels = torch.zeros(16, 32, 32, 3, dtype=torch.uint8, device=device)
    index = torch.zeros(16, dtype=torch.int64, device=device)
    images = augmentation.augment(augmentation.gather(pixels, index, recipe, 1), recipe, "pixels")
    images = augmentation.augment(images, recipe, "normalized")
    augmentation.blend(images, index, recipe, 10)


@pytest.mark.parametrize("more", [{}, EVERYTHING, {"flip": "alternating"}, {"flip": "none", "translate": 0}])
def test_a_stretch_of_many_steps_trains_to_the_bits_of_single_steps(train: Split, more: dict[str, object]) -> None:
    single, stretched = (Training(SMALL.with_fields(more), train) for _ in range(2))
    stretched._stretch = 3 * 16
    assert [epoch.metrics for epoch in single] == [epoch.metrics for epoch in stretched]
    assert torch.equal(weights(single), weights(stretched))


def test_a_state_between_two_stretches_continues_step_by_step_to_the_same_bits(train: Split) -> None:
    states: list[dict[str, object]] = []

    def save(training: Training) -> None:
        if (training.epoch, training.step) == (1, 6):
            states.append(copy.deepcopy(training.state_dict()))

    stretched, resumed = Training(SMALL, train, after_step=save), Training(SMALL, train)
    stretched._stretch = 3 * 16
    whole = list(stretched)
    resumed.load_state_dict(states[0])
    assert [epoch.metrics for epoch in resumed] == [epoch.metrics for epoch in whole]
    assert torch.equal(weights(stretched), weights(resumed))


def test_a_state_of_a_cpu_leaves_a_gpus_generator_at_the_recipes_seed_and_one_of_a_gpu_fits_a_cpu(train: Split) -> None:
    cpu, gpu = Training(SMALL, train), Training(SMALL, train)
    seeded = torch.tensor([7], dtype=torch.uint8)
    gpu._generators = [torch.get_rng_state(), seeded]
    of_gpu = gpu.state_dict()
    gpu.load_state_dict(cpu.state_dict())
    assert torch.equal(gpu._generators[0], cpu._generators[0])
    assert gpu._generators[1] is seeded
    cpu.load_state_dict(of_gpu)
    assert len(cpu._generators) == 1


# Steps


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake tensors on a GPU. A tensor on another device is an error, and so is a look at a value, which waits."""
    fork_rng, build = torch.random.fork_rng, models.build

    def build_for_real(recipe: Recipe, spec: ImageSpec, train_images: torch.Tensor) -> torch.nn.Module:
        with unset_fake_temporarily():
            return build(recipe, spec, torch.randn(train_images.shape))

    monkeypatch.setattr(models, "build", build_for_real)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: fork_rng([]))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@pytest.mark.parametrize("more", [{}, {"jitter": 0.3, "cutout": 8}, {"model": "fast", "channels": "8-8-8-8"}])
def test_the_steps_of_a_stretch_are_on_the_gpu_and_never_wait_for_it(
    pretended_gpu: None, train: Split, more: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = SMALL.with_fields({"class_weights": "balanced", "batch_sampling": "balanced", **more})
    training = Training(recipe, train, train, device="cuda")

    def backward(loss: torch.Tensor, gradient: torch.Tensor | None = None) -> None:  # torch's needs a real GPU
        for each in _trained(training):
            each.grad = torch.zeros_like(each)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(training.optimizer, "step", lambda: None)  # as that of a fused update
    training.model.train()
    training.arithmetic = Arithmetic("float32", None, 1024.0)
    training._loss_scale = torch.tensor(1024.0, device="cuda")
    trained = 0
    for pixels, labels in training._batches(training._new_order()[: training._stretch]):
        loss = training._train_on(pixels, labels)
        assert (pixels.device.type, labels.device.type, loss.device.type) == ("cuda", "cuda", "cuda")
        trained += len(labels)
    assert trained == 150
    assert training._logits(training._pixels).device.type == "cuda"
    with pytest.raises(DataDependentOutputException):  # what a step that waits would raise
        float(loss)


# Images and memory


def test_images_that_cannot_change_are_copied_to_a_gpu_once_a_process() -> None:
    images = np.zeros((2, 2), np.uint8)
    assert on_device(images, META) is not on_device(images, META)
    images.setflags(write=False)
    copied = on_device(images, META)
    assert copied.device == META
    assert on_device(images[:], META) is copied
    assert on_device(images[:1], META) is not copied


def test_a_process_keeps_the_images_of_one_phase_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_uploads", {})
    arrays = [np.full(3, number) for number in range(6)]
    for array in arrays:
        array.setflags(write=False)
        on_device(array, META)
    assert [int(kept[0]) for kept, _ in devices._uploads.values()] == [2, 3, 4, 5]


def test_on_a_cpu_images_are_used_in_place() -> None:
    images = np.zeros((2, 2), np.uint8)
    assert np.shares_memory(on_device(images, CPU).numpy(), images)


def test_four_quarters_of_a_gpu_and_their_contexts_fit_on_it() -> None:
    for total in (16e9, 80e9):
        assert 4 * (memory_fraction(0.25, total) * total + devices.CONTEXT_BYTES) <= total
    assert memory_fraction(1.0, 16e9) == 1.0
    assert memory_fraction(0.1, 4e9) == 0.05  # a small share of a small GPU is not nothing


def test_an_epochs_device_is_named_with_its_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert devices.describe("cpu", Arithmetic("float32")) == "cpu"
    assert devices.describe("cuda", FP16) == "cuda (Tesla T4, float16)"
    assert devices.describe("cuda", None) == "cuda (Tesla T4)"
