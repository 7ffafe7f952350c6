"""Predictions of finished networks in Ray tasks."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from study.data import Split
from study.data.dataset import CIFAR10
from study.errors import StudyFailed
from study.execution import predictions
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup, as_bytes, device_of, weights_of
from study.recipe import RECIPES, Recipe
from study.storage.store import Store
from study.training.loop import Training

RECIPE = RECIPES["fast"].with_fields({"channels": "4-4-4-4", "precision": "float32", "epochs": 1})


def setup_in(folder: Path, split: Split) -> WorkerSetup:
    return WorkerSetup(
        train=split,
        validation=split,
        spec=CIFAR10,
        store=Store(str(folder)),
        checkpoint_epochs=(),
        keep_weights=True,
        threads=1,
        gpu=True,
    )


def test_a_network_out_of_memory_on_its_share_is_evaluated_on_a_whole_gpu(
    local_ray: None, synthetic: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(RECIPE, synthetic)
    setup = setup_in(tmp_path, synthetic)
    setup.store.write(weights_of(0), as_bytes(training.model.state_dict()))
    evaluate, seen = predictions._predict, tmp_path / "seen"

    def too_large(setup: WorkerSetup, number: int, recipe: dict[str, object], images: Any) -> object:
        share = ray.get_runtime_context().get_assigned_resources()["GPU"]
        with seen.open("a") as file:
            file.write(f"{share} {len(setup.train.labels)}\n")
        if share < 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return evaluate(setup, number, recipe, images)

    monkeypatch.setattr(predictions, "_predict", too_large)
    images = synthetic.images[:20]
    (found,) = predictions.predict(setup, [(0, RECIPE)], images, Slots(1.0, 0.25, 1, ""))
    assert np.allclose(found, training.predict(images), atol=1e-6)
    shares = [line.split() for line in seen.read_text().splitlines()]
    assert [float(share) for share, _ in shares] == [0.25, 1.0]
    assert all(int(images) < 300 for _, images in shares)  # not all training images


def test_out_of_memory_on_a_whole_gpu_as_well_is_one_line(
    local_ray: None, synthetic: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*arguments: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 99 GiB")

    monkeypatch.setattr(predictions, "_predict", too_large)
    with pytest.raises(StudyFailed, match=r"final networks failed: .*Tried to allocate 99 GiB$"):
        predictions.predict(setup_in(tmp_path, synthetic), [(0, Recipe())], synthetic.images, Slots(1.0, 0.5, 1, ""))


def test_a_training_takes_its_share_of_the_gpus_memory_after_what_was_left_is_freed(
    monkeypatch: pytest.MonkeyPatch, synthetic: Split, tmp_path: Path
) -> None:
    calls: list[object] = []
    share = {"get_assigned_resources": lambda self: {"GPU": 0.25}}
    monkeypatch.setattr(ray, "get_runtime_context", lambda: type("Context", (), share)())
    pretended = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "empty_cache": lambda: calls.append("freed"),
        "get_device_properties": lambda device: type("Properties", (), {"total_memory": 16e9}),
        "set_per_process_memory_fraction": lambda fraction: calls.append(fraction),
    }
    for name, function in pretended.items():
        monkeypatch.setattr(torch.cuda, name, function)
    assert device_of(setup_in(tmp_path, synthetic)) == "cuda"
    assert calls == ["freed", pytest.approx(0.25 - 0.5 / 16)]


def test_a_share_of_a_gpu_that_torch_cannot_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, synthetic: Split, tmp_path: Path
) -> None:
    from study.errors import ResourceError
    from study.execution.trainable import PRETEND_GPUS

    monkeypatch.delitem(os.environ, PRETEND_GPUS, raising=False)
    with pytest.raises(ResourceError, match="give --gpus-per-trial 0"):
        device_of(setup_in(tmp_path, synthetic))
