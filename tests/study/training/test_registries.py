"""Each registry is a plain dict: an entry that is added from outside trains like one of ours, in a few lines."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from study.data.dataset import ImageSpec, Split
from study.errors import RecipeError
from study.recipe import FIELDS, Recipe, allowed
from study.training.augmentation import AUGMENTATIONS, FLIPS, Augmentation
from study.training.loop import Training
from study.training.metrics import METRICS, Metric
from study.training.models import MODELS, Family
from study.training.optimizers import OPTIMIZERS, OptimizerEntry
from study.training.schedules import SCHEDULES, ScheduleEntry

SPEC = ImageSpec(8, 8, 1, 2, (0.5,), (0.25,))
RANDOM = np.random.default_rng(0)
SPLIT = Split(RANDOM.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), np.arange(20) % 2)
RECIPE = Recipe(channels="4", hidden="4", epochs=2, batch_size=5)


@contextmanager
def added(registry: dict[str, Any], name: str, entry: Any) -> Iterator[None]:
    registry[name] = entry
    try:
        yield
    finally:
        del registry[name]


def train(recipe: Recipe, **options: Any) -> Training:
    training = Training(recipe, SPLIT, SPLIT, spec=SPEC, **options)
    list(training)
    return training


def test_an_optimizer_is_one_function_and_its_line() -> None:
    def adagrad(parameters: Any, recipe: Recipe) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(parameters, lr=recipe.lr)

    with added(OPTIMIZERS, "adagrad", OptimizerEntry(adagrad, uses=())):
        training = train(RECIPE.with_fields({"optimizer": "adagrad"}))
        assert type(training.optimizer) is torch.optim.Adagrad
        assert "momentum" in training.recipe.unused_fields()
        assert "adagrad" in allowed("optimizer")


def test_a_schedule_is_one_function_and_its_line() -> None:
    with added(SCHEDULES, "linear", ScheduleEntry(lambda progress, recipe: 1 - progress)):
        training = train(RECIPE.with_fields({"schedule": "linear"}))
        assert training.optimizer.param_groups[0]["lr"] == pytest.approx(RECIPE.lr / 8)  # the last of eight steps


def test_a_network_family_is_one_function_and_its_line() -> None:
    def linear(recipe: Recipe, spec: ImageSpec, images: torch.Tensor) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, spec.num_classes))

    with added(MODELS, "linear", Family(linear, uses=())):
        training = train(RECIPE.with_fields({"model": "linear"}))
        assert len(training.model) == 2
        assert "channels" in training.recipe.unused_fields()


def test_an_augmentation_is_one_function_and_its_line() -> None:
    strengths = []

    def invert(images: torch.Tensor, strength: float) -> torch.Tensor:
        strengths.append(strength)
        return torch.where(torch.rand(len(images), 1, 1, 1) < strength, 255 - images.float(), images.float())

    with added(AUGMENTATIONS, "invert", Augmentation(invert, on="pixels")):
        train(RECIPE)
        assert strengths == []
        train(RECIPE.with_fields({"augmentation.invert": 0.5}))
        assert strengths == [0.5] * 8


def test_a_metric_is_one_function_and_its_line() -> None:
    def confidence(labels: Any, probabilities: Any) -> float:
        return float(probabilities.max(1).mean())

    with added(METRICS, "confidence", Metric("confidence", "max", confidence)):
        (epoch, _) = Training(RECIPE, SPLIT, SPLIT, spec=SPEC)
        assert 0.5 <= epoch.metrics["val_confidence"] <= 1


@pytest.mark.parametrize("field", ["model", "optimizer", "schedule", "flip"])
def test_a_name_that_is_not_in_the_registry_is_refused_with_those_that_are(field: str) -> None:
    with pytest.raises(RecipeError, match=f"Recipe field '{field}' is 'none_of_them'; allowed: .*, ") as error:
        Recipe(**{field: "none_of_them"})
    names = {"model": MODELS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "flip": FLIPS}[field]
    assert all(name in str(error.value) for name in names)


def test_a_metric_is_called_by_its_key() -> None:
    assert all(metric.name == name for name, metric in METRICS.items())


def test_flips_and_built_in_augmentations_are_fields_of_the_recipe() -> None:
    assert set(FLIPS) == set(FIELDS["flip"].metadata["options"])
    assert set(AUGMENTATIONS) <= set(FIELDS)


def test_every_field_that_an_entry_uses_exists() -> None:
    for registry in (MODELS, OPTIMIZERS, SCHEDULES):
        assert {field for entry in registry.values() for field in entry.uses} <= set(FIELDS)


def test_a_recipe_needs_no_torch() -> None:
    code = "import sys; from study.recipe import Recipe; Recipe().unused_fields(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
