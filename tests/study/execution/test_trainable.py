"""A training in a worker: on which threads."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.data import Split
from study.data.dataset import CIFAR10
from study.execution.resources import Slots
from study.execution.trainable import WorkerSetup, make_trainer
from study.pipeline.run_context import RunContext
from study.recipe import Recipe
from study.storage.store import Store


@pytest.fixture(autouse=True)
def _threads_are_put_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [(Recipe(), 4), (Recipe(batch_norm=True), 2), (Recipe(model="fast", whitening=False), 2)],
    ids=["lanes", "batch normalisation", "another family"],
)
def test_only_a_network_that_comes_out_the_same_on_any_number_of_threads_gets_more_than_its_share(
    synthetic: Split, tmp_path: Path, recipe: Recipe, expected: int
) -> None:
    few = Split(synthetic.images[:64], synthetic.labels[:64])
    setup = WorkerSetup(few, None, CIFAR10, Store(str(tmp_path)), (), False, threads=2, gpu=False, lanes=4)
    make_trainer(recipe, setup)
    assert torch.get_num_threads() == expected
    make_trainer(recipe, replace(setup, lanes=2))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("address", "slots", "expected"),
    [
        ("local", Slots(1, 0, 2, ""), 2),
        ("local", Slots(2, 0, 4, ""), 8),
        ("local", Slots(1, 0, 1, ""), 1),
        ("local", Slots(0.5, 0, 4, ""), 2),
        ("auto", Slots(1, 0, 64, ""), 1),
        ("10.0.0.1:6379", Slots(2, 0, 64, ""), 2),
    ],
)
def test_a_last_training_uses_the_cpus_of_the_study_but_on_a_cluster_those_of_its_slot(
    address: str, slots: Slots, expected: int
) -> None:
    context: Any = SimpleNamespace(config=SimpleNamespace(address=address), slots=slots)
    assert RunContext.all_lanes(context) == expected
