"""A few timed training steps on the slots of a study, before it starts: how long a worker takes to be ready, and an
image of each recipe to be trained."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import ray

from study.data.dataset import Split
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup, device_of, make_trainer
from study.recipe import Recipe

STEPS, IMAGES = 4, 512  # that are timed of each recipe, at least, after one step that warms up
WORKERS = 8  # that are timed at once, at most
PATIENCE = 300.0  # seconds that a study waits for its estimate


@dataclass(frozen=True)
class Timing:
    """Seconds of wall time.

    Attributes:
        start: until a worker is ready to train, when those of all slots start at once.
        per_image: of training on one image, for each recipe, while the other slots train as well; 0 for a recipe that
            diverges at once.
    """

    start: float
    per_image: list[float]


def time_recipes(setup: WorkerSetup, recipes: Sequence[Recipe], slots: Slots) -> Timing:
    """Trains a few steps of each recipe on every slot at once.

    Args:
        setup: as the trainings will have it; only its first training images are used.

    Raises:
        RayError: a recipe could not be trained, or nothing was timed within PATIENCE.
    """
    images = max([IMAGES, *(recipe.batch_size * (STEPS + 1) for recipe in recipes)])
    few = Split(setup.train.images[:images], setup.train.labels[:images])
    shared = ray.put(replace(setup, train=few, validation=None, metrics=("accuracy",)))
    task: Any = ray.remote(num_cpus=slots.cpus, num_gpus=slots.gpus, max_retries=0)(_time)
    began = time.time()
    fields = [recipe.as_dict() for recipe in recipes]
    tasks = [task.remote(shared, fields) for _ in range(min(slots.count, WORKERS))]
    try:
        timed = ray.get(tasks, timeout=PATIENCE)
    except Exception:
        for each in tasks:  # the study needs their slots
            ray.cancel(each, force=True)
        raise
    starts = [max(0.0, ready - began) for ready, _ in timed]
    return Timing(max(starts), [median(column) for column in zip(*(per_image for _, per_image in timed), strict=True)])


def _time(setup: WorkerSetup, recipes: Sequence[dict[str, Any]]) -> tuple[float, list[float]]:
    """When this worker was ready, in seconds since 1970, and the seconds per image of each recipe."""
    import torch

    torch.zeros(1, device=device_of(setup))  # a GPU takes seconds for this
    ready = time.time()
    return ready, [_seconds_per_image(Recipe.from_dict(fields), setup) for fields in recipes]


def _seconds_per_image(recipe: Recipe, setup: WorkerSetup) -> float:
    from study.training.loop import Diverged

    times: list[float] = []
    device = device_of(setup)
    two_epochs = recipe.with_fields({"epochs": 2})
    try:
        trainer = make_trainer(two_epochs, setup, device=device, after_step=lambda _: times.append(time.perf_counter()))
        epochs = iter(trainer)
        next(epochs)
        if device == "cpu" and len(times) > 1:
            return (times[-1] - times[0]) / ((len(times) - 1) * recipe.batch_size)
        # A GPU, one step only, or a trainer that does not say when it makes one: the first epoch warms up.
        return next(epochs).seconds / len(setup.train.labels)
    except Diverged:
        return 0.0
