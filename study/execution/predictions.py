"""Predictions of finished networks, as Ray tasks with a trial's share of the machine."""

import io
from collections.abc import Sequence

import numpy as np
import ray
from numpy.typing import NDArray

from study.errors import StudyFailed
from study.execution.recorder import cause_in
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup, device_of, make_trainer, weights_of
from study.recipe import Recipe


def predict(
    setup: WorkerSetup, networks: Sequence[tuple[int, Recipe]], images: NDArray[np.uint8], slots: Slots
) -> list[NDArray[np.float32]]:
    """Class probabilities, float32 [n, classes], of each finished network.

    Args:
        setup: of the phase that trained them; its store has their weights.
        networks: number in that phase, and Recipe.
        images: uint8 [n, H, W, C].
        slots: what each task may use.

    Raises:
        StudyFailed: a network's weights are gone, or its evaluation failed.
    """
    shared, pixels = ray.put(setup), ray.put(images)
    task = ray.remote(num_cpus=slots.cpus, num_gpus=slots.gpus, max_retries=1)(_predict)
    try:
        return list(ray.get([task.remote(shared, number, recipe.as_dict(), pixels) for number, recipe in networks]))
    except (ray.exceptions.RayError, StudyFailed) as error:
        raise StudyFailed(f"the evaluation of the final networks failed: {cause_in(str(error))}") from None


def _predict(setup: WorkerSetup, number: int, recipe: dict[str, object], images: NDArray[np.uint8]) -> object:
    import torch

    from study.training.trainer import load_final_state

    weights = setup.store.read(weights_of(number))
    if weights is None:
        raise StudyFailed(f"{weights_of(number)}, a trained network, is missing from {setup.store.location}")
    trainer = make_trainer(Recipe.from_dict(recipe), setup, device=device_of(setup))
    load_final_state(trainer, torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu"))
    return np.asarray(trainer.predict(images), dtype=np.float32)
