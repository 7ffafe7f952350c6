import io
import math
from itertools import islice

import numpy as np
import pytest
import torch

from study.data.dataset import CIFAR10, ImageSpec, Split
from study.recipe import Recipe
from study.training.loop import Diverged, Epoch, Training, _sample, normalization, steps_of_an_epoch
from study.training.schedules import lr_factor

SMALL = Recipe(
    channels="4-4",
    hidden="16",
    batch_size=16,
    lr=0.01,
    dropout=0.2,
    flip="random",
    translate=2,
    cutout=4,
    schedule="one_cycle",
    epochs=6,
)


@pytest.fixture(scope="module")
def train(synthetic: Split) -> Split:
    return Split(synthetic.images[:150], synthetic.labels[:150])


@pytest.fixture(scope="module")
def validation(synthetic: Split) -> Split:
    return Split(synthetic.images[1000:1200], synthetic.labels[1000:1200])


def weights(training: Training) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in training.model.state_dict().values()])


def through_a_file(state: dict[str, object]) -> dict[str, object]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def measured(epochs: list[Epoch]) -> list[tuple[object, ...]]:
    return [(epoch.number, epoch.metrics) for epoch in epochs]


def test_three_epochs_saved_and_three_restored_give_the_bits_of_six(train: Split, validation: Split) -> None:
    whole = Training(SMALL, train, validation)
    epochs = list(whole)
    first = Training(SMALL, train, validation)
    started = list(islice(first, 3))
    second = Training(SMALL, train, validation)
    second.load_state_dict(through_a_file(first.state_dict()))
    resumed = started + list(second)
    assert torch.equal(weights(second), weights(whole))
    assert measured(resumed) == measured(epochs)


@pytest.mark.parametrize("batch_size", [16, 4, 100])  # with oneDNN, without, and in two passes
def test_a_state_taken_in_mid_epoch_continues_to_the_same_bits(
    train: Split, validation: Split, batch_size: int
) -> None:
    recipe, states = SMALL.with_fields({"batch_size": batch_size}), []

    def save(training: Training) -> None:
        if (training.epoch, training.step) == (2, 1):
            states.append(through_a_file(training.state_dict()))

    whole = Training(recipe, train, validation, after_step=save)
    epochs = list(whole)
    resumed = Training(recipe, train, validation)
    resumed.load_state_dict(states[0])
    assert measured(list(resumed)) == measured(epochs[1:])
    assert torch.equal(weights(resumed), weights(whole))


def test_a_step_on_few_images_in_torchs_own_convolutions_is_the_step_that_it_is_in_onednns(train: Split) -> None:
    own, other = (Training(SMALL.with_fields({"batch_size": 4, "dropout": 0.0}), train) for _ in range(2))
    assert own._tiny
    other._tiny, other._layout = False, torch.channels_last
    other.model.to(memory_format=torch.channels_last)
    assert next(iter(own)).metrics["train_loss"] == pytest.approx(next(iter(other)).metrics["train_loss"], rel=1e-4)
    assert weights(own) == pytest.approx(weights(other), abs=1e-3)
    assert torch.backends.mkldnn.enabled


def test_a_batch_in_passes_takes_the_step_of_the_whole_batch(train: Split) -> None:
    recipe = SMALL.with_fields({"batch_size": 100, "dropout": 0.0, "mixup": 1.0, "label_smoothing": 0.1})
    parts, whole = Training(recipe, train), Training(recipe, train)
    assert parts._pass == 64
    whole._pass = 100
    assert next(iter(parts)).metrics["train_loss"] == pytest.approx(next(iter(whole)).metrics["train_loss"], rel=1e-5)
    assert weights(parts) == pytest.approx(weights(whole), abs=1e-5)


def test_batch_normalisation_sees_the_whole_batch(train: Split) -> None:
    assert Training(SMALL.with_fields({"batch_size": 100, "batch_norm": True}), train)._pass == 100


def test_trainings_side_by_side_in_one_process_do_not_disturb_each_other(train: Split) -> None:
    alone = Training(SMALL, train)
    list(alone)
    one, other = Training(SMALL, train), Training(SMALL.with_fields({"seed": 1}), train)
    for _ in zip(one, other, strict=True):
        torch.rand(1)
    assert torch.equal(weights(one), weights(alone))
    assert not torch.equal(weights(one), weights(other))


def test_validation_is_computed_over_the_whole_split_by_the_network_as_it_stands(
    train: Split, validation: Split
) -> None:
    training = Training(SMALL, train, validation)
    epoch = next(iter(training))
    probabilities = training.predict(validation.images)
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (200, 10))
    assert epoch.metrics["val_accuracy"] == pytest.approx((probabilities.argmax(1) == validation.labels).mean())
    loss = -np.log(probabilities[np.arange(200), validation.labels]).mean()
    assert epoch.metrics["val_loss"] == pytest.approx(loss)
    assert epoch.metrics["val_log_loss"] == pytest.approx(loss)


def test_the_training_loss_weighs_every_image_once_also_in_a_last_smaller_batch(train: Split) -> None:
    still = Recipe(channels="4-4", hidden="16", lr=1e-30, momentum=0.0, batch_size=64, epochs=1)
    training = Training(still, train)
    expected = -np.log(training.predict(train.images)[np.arange(150), train.labels]).mean()
    assert next(iter(training)).metrics["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_training_at_once_with_epoch_and_step(train: Split) -> None:
    def poison(training: Training) -> None:
        if (training.epoch, training.step) == (2, 3):
            next(training.model.parameters()).data.fill_(math.nan)

    training = Training(SMALL, train, after_step=poison)
    with pytest.raises(Diverged, match="loss nan at epoch 2, step 4") as diverged:
        list(training)
    assert (diverged.value.epoch, diverged.value.step) == (2, 4)
    assert training.step == 4  # not a step further


def test_a_validation_loss_that_is_not_finite_is_a_divergence_too(train: Split, validation: Split) -> None:
    def poison_after_the_last_step(training: Training) -> None:
        if training.step == training.steps:
            next(training.model.parameters()).data.fill_(math.nan)

    training = Training(SMALL, train, validation, after_step=poison_after_the_last_step)
    with pytest.raises(Diverged, match="epoch 1, step 10"):
        next(iter(training))


def test_it_learns(synthetic: Split) -> None:
    recipe = Recipe(channels="8-16", hidden="32", lr=0.02, momentum=0.9, batch_size=32, epochs=3, schedule="cosine")
    *_, last = Training(
        recipe,
        Split(synthetic.images[:1500], synthetic.labels[:1500]),
        Split(synthetic.images[1500:], synthetic.labels[1500:]),
    )
    assert last.metrics["val_accuracy"] > 0.5  # chance is 0.1


def test_the_splits_arrays_are_used_in_place_and_may_be_read_only(train: Split) -> None:
    images, labels = train.images.copy(), train.labels.copy()
    images.setflags(write=False)
    training = Training(SMALL, Split(images, labels))
    assert np.shares_memory(training._pixels.numpy(), images)


def test_cosine_is_torchs_cosine() -> None:
    recipe = Recipe(schedule="cosine")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for step in range(50):
        assert lr_factor(recipe, step / 50) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()


def test_one_cycle_is_torchs_with_a_linear_rise_and_a_cosine_fall() -> None:
    recipe = Recipe(schedule="one_cycle")
    torchs = {
        strategy: torch.optim.lr_scheduler.OneCycleLR(
            torch.optim.SGD([torch.zeros(1)], lr=1.0),
            max_lr=1.0,
            total_steps=1001,
            anneal_strategy=strategy,
            final_div_factor=1e9,
        )
        for strategy in ("linear", "cos")
    }
    for step in range(1000):
        strategy = "linear" if step <= 299 else "cos"
        if step % 50 == 0:
            expected = torchs[strategy].get_last_lr()[0]
            # torch counts its phases in whole steps, which moves its peak by one
            assert lr_factor(recipe, step / 1000) == pytest.approx(expected, abs=0.005)
        for scheduler in torchs.values():
            scheduler.optimizer.step()
            scheduler.step()


def test_a_step_schedule_drops_at_half_and_three_quarters() -> None:
    recipe = Recipe(schedule="step", gamma=0.1)
    assert [round(lr_factor(recipe, progress), 6) for progress in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99)] == [
        1,
        1,
        0.1,
        0.1,
        0.01,
        0.01,
    ]


SIZES = {
    "8 x 8 grey": ImageSpec(8, 8, 1, 10, (0.3,), (0.4,)),
    "28 x 28 grey": ImageSpec(28, 28, 1, 26, (0.17,), (0.33,)),
    "9 x 14": ImageSpec(9, 14, 3, 2, (0.5,) * 3, (0.25,) * 3),
    "64 x 48": ImageSpec(64, 48, 3, 200, (0.5,) * 3, (0.25,) * 3),
    "224 x 224": ImageSpec(224, 224, 3, 3, (0.5,) * 3, (0.25,) * 3),
}
FAMILIES = {
    "cnn": Recipe(channels="4-4", hidden="8"),
    "cnn, batch normalised": Recipe(channels="4-4-4-4", padding="same", batch_norm=True, hidden="8"),
    "fast": Recipe(model="fast", channels="8-8-8-8"),
    "resnet18": Recipe(model="resnet18"),
    "vgg11_bn": Recipe(model="vgg11_bn"),
}
EVERYTHING = {"flip": "random", "translate": 3, "jitter": 0.2, "cutout": 5, "mixup": 0.5, "cutmix": 0.5}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_on_images_of_any_size_with_every_augmentation(size: str, family: str) -> None:
    spec = SIZES[size]
    if max(spec.height, spec.width) > 100 and family in ("resnet18", "vgg11_bn"):
        pytest.skip("takes long on a CPU")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, spec.height, spec.width, spec.channels), dtype=np.uint8)
    split = Split(images, np.arange(6) % spec.num_classes)
    fields = {**EVERYTHING, "normalization": "dataset", "epochs": 1, "batch_size": 3}
    training = Training(FAMILIES[family].with_fields(fields), split, split, spec=spec)
    (epoch,) = training
    assert all(math.isfinite(value) for value in epoch.metrics.values())
    probabilities = training.predict(images)
    assert probabilities.shape == (6, spec.num_classes)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)


def test_normalization_by_the_data_set_is_its_mean_and_std() -> None:
    spec = ImageSpec(8, 8, 1, 2, (0.25,), (0.5,))
    split = Split(np.full((4, 8, 8, 1), 255, dtype=np.uint8), np.array([0, 1, 0, 1]))
    for name, expected in {"dataset": 1.5, "half": 1.0, "imagenet": (1 - 0.449) / 0.226}.items():
        training = Training(Recipe(channels="4", normalization=name), split, spec=spec)
        found = training._normalized(training._pixels.permute(0, 3, 1, 2))
        assert torch.allclose(found, torch.tensor(expected), atol=1e-5), name


def test_on_cifar10_normalization_by_the_data_set_is_that_of_cifar10() -> None:
    assert normalization(Recipe(normalization="dataset"), CIFAR10) == normalization(
        Recipe(normalization="cifar10"), CIFAR10
    )


def imbalanced() -> Split:
    labels = np.array([0] * 140 + [1] * 10)
    images = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 1), dtype=np.uint8)
    return Split(images, labels)


TWO_CLASSES = ImageSpec(8, 8, 1, 2, (0.5,), (0.25,))
TINY = Recipe(channels="4", hidden="4", batch_size=16, lr=0.01, epochs=1)


def test_balanced_class_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    split = imbalanced()
    training = Training(TINY.with_fields({"class_weights": "balanced"}), split, spec=TWO_CLASSES)
    expected = compute_class_weight("balanced", classes=np.arange(2), y=split.labels)
    assert training._class_weights == pytest.approx(expected)
    (epoch,) = training
    assert math.isfinite(epoch.metrics["train_loss"])


def test_class_weights_make_each_class_count_the_same_in_the_loss() -> None:
    split = imbalanced()
    still = {"class_weights": "balanced", "lr": 1e-30, "momentum": 0.0}
    training = Training(TINY.with_fields(still), split, spec=TWO_CLASSES)
    losses = -np.log(training.predict(split.images)[np.arange(150), split.labels])
    (epoch,) = training
    expected = (losses[split.labels == 0].mean() + losses[split.labels == 1].mean()) / 2
    assert epoch.metrics["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_class_weights_give_the_same_step_in_passes(train: Split) -> None:
    recipe = SMALL.with_fields({"batch_size": 100, "dropout": 0.0, "class_weights": "balanced", "mixup": 1.0})
    parts, whole = Training(recipe, train), Training(recipe, train)
    whole._pass = 100
    assert next(iter(parts)).metrics["train_loss"] == pytest.approx(next(iter(whole)).metrics["train_loss"], rel=1e-5)
    assert weights(parts) == pytest.approx(weights(whole), abs=1e-5)


def test_balanced_sampling_draws_every_class_as_often() -> None:
    training = Training(TINY.with_fields({"batch_sampling": "balanced"}), imbalanced(), spec=TWO_CLASSES)
    torch.manual_seed(0)
    drawn = torch.cat([training._labels[training._new_order()] for _ in range(20)])
    assert len(drawn) == 20 * 150
    assert 0.45 < drawn.double().mean() < 0.55


def test_uniform_sampling_visits_every_image_once() -> None:
    training = Training(TINY, imbalanced(), spec=TWO_CLASSES)
    assert torch.equal(training._new_order().sort().values, torch.arange(150))


def test_balanced_trainings_are_restored_bit_for_bit_as_well() -> None:
    recipe = TINY.with_fields({"batch_sampling": "balanced", "class_weights": "balanced", "epochs": 4})
    whole, first, second = (Training(recipe, imbalanced(), imbalanced(), spec=TWO_CLASSES) for _ in range(3))
    epochs = list(whole)
    started = list(islice(first, 2))
    second.load_state_dict(through_a_file(first.state_dict()))
    assert measured(started + list(second)) == measured(epochs)


def test_a_network_sees_images_of_every_class_of_a_sorted_split_at_its_construction() -> None:
    images = np.broadcast_to(np.arange(6000, dtype=np.int64).reshape(-1, 1, 1, 1), (6000, 8, 8, 1))
    sample = _sample(Split(images, np.arange(6000) // 5500), TWO_CLASSES)
    assert sample[:, 0, 0, 0].tolist() == list(range(0, 6000, 2))


def test_metrics_are_those_that_were_asked_for() -> None:
    split = imbalanced()
    (epoch,) = Training(TINY, split, split, spec=TWO_CLASSES, metrics=("roc_auc", "accuracy"))
    assert set(epoch.metrics) == {"train_loss", "val_loss", "val_roc_auc", "val_accuracy"}
    (unseen,) = Training(TINY, split, spec=TWO_CLASSES, metrics=("roc_auc",))
    assert unseen.metrics == {"train_loss": unseen.metrics["train_loss"], "val_loss": None, "val_roc_auc": None}


@pytest.mark.parametrize(
    ("images", "batch_size", "has_batch_norm", "steps"),
    [
        (898, 64, True, 14),
        (898, 64, False, 15),
        (928, 64, True, 15),
        (927, 64, True, 14),
        (896, 64, True, 14),
        (30, 64, True, 1),
        (1, 64, True, 1),
    ],
)
def test_a_network_with_batch_norm_leaves_out_a_last_batch_of_less_than_half(
    images: int, batch_size: int, has_batch_norm: bool, steps: int
) -> None:
    assert steps_of_an_epoch(images, batch_size, has_batch_norm) == steps


def test_the_loss_of_an_epoch_is_the_mean_over_the_images_that_were_trained_on(synthetic: Split) -> None:
    few = Split(synthetic.images[:67], synthetic.labels[:67])
    recipe = Recipe(channels="4-8", hidden="8", batch_size=32, epochs=1, batch_norm=True)
    training = Training(recipe, few)
    seen: list[int] = []
    original = training._train_on

    def counted(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(len(labels))
        return original(pixels, labels)

    training._train_on = counted  # type: ignore[method-assign]
    [epoch] = training
    assert seen == [32, 32]
    assert epoch.metrics["train_loss"] == pytest.approx(float(training._losses.mean()))
