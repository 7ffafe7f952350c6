"""Predictions of finished networks, as Ray tasks with a trial's share of the machine."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from study.data.dataset import Split
from study.errors import StudyFailed
from study.execution.recorder import cause_in, is_out_of_gpu_memory
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup, device_of, make_trainer, weights_of
from study.recipe import Recipe

FEW_IMAGES = 100  # training images with which a network is built whose weights are known


def predict(
    setup: WorkerSetup, networks: Sequence[tuple[int, Recipe]], images: NDArray[np.uint8], slots: Slots
) -> list[NDArray[np.float32]]:
    """Class probabilities, float32 [n, classes], of each finished network.

    Args:
        setup: of the phase that trained them; its store has their weights.
        networks: number in that phase, and Recipe.
        images: uint8 [n, H, W, C].
        slots: what each task may use.

    One that needs more than a trial's share of a GPU's memory gets a whole GPU.

    Raises:
        StudyFailed: a network's weights are gone, or its evaluation failed.
    """
    shared, pixels = ray.put(_with_few_images(setup)), ray.put(images)
    asked = [(shared, number, recipe.as_dict(), pixels) for number, recipe in networks]
    try:
        try:
            return _answers(slots.cpus, slots.gpus, asked)
        except ray.exceptions.RayError as error:
            if not 0 < slots.gpus < 1 or not is_out_of_gpu_memory(str(error)):
                raise
        return _answers(slots.cpus, 1.0, asked)
    except (ray.exceptions.RayError, StudyFailed) as error:
        raise StudyFailed(f"the evaluation of the final networks failed: {cause_in(str(error))}") from None


def _answers(cpus: float, gpus: float, asked: Sequence[tuple[Any, ...]]) -> list[NDArray[np.float32]]:
    task: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=1)(_predict)
    return list(ray.get([task.remote(*each) for each in asked]))


def _with_few_images(setup: WorkerSetup) -> WorkerSetup:
    """The built-in loop builds a network whose weights are then replaced, and needs its images no more."""
    if setup.trainer is not None:
        return setup
    every = max(1, len(setup.train.labels) // FEW_IMAGES)
    few = Split(setup.train.images[::every].copy(), setup.train.labels[::every].copy())
    return replace(setup, train=few, validation=None)


def _predict(setup: WorkerSetup, number: int, recipe: dict[str, object], images: NDArray[np.uint8]) -> object:
    import torch

    from study.training.trainer import load_final_state

    weights = setup.store.read(weights_of(number))
    if weights is None:
        raise StudyFailed(f"{weights_of(number)}, a trained network, is missing from {setup.store.location}")
    trainer = make_trainer(Recipe.from_dict(recipe), setup, device=device_of(setup))
    load_final_state(trainer, torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu"))
    return np.asarray(trainer.predict(images), dtype=np.float32)
