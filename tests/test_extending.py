"""docs/extending.md adds one entry to each registry; here each example is run and then used."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import search_spaces
from results.events import EpochFinished, TrialStarted
from study.data import DATASETS, DataOptions, Dataset, load
from study.recipe import BASELINE, Recipe
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem
from study.search.samplers import SAMPLERS
from study.search.schedulers import CONTINUE, SCHEDULERS, STOP, SchedulerSettings
from study.training.augmentation import AUGMENTATIONS
from study.training.loop import Training
from study.training.metrics import METRICS
from study.training.models import MODELS
from study.training.optimizers import OPTIMIZERS
from study.training.schedules import SCHEDULES

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
REGISTRIES: list[dict[str, Any]] = [
    *(METRICS, OPTIMIZERS, SCHEDULES, AUGMENTATIONS, MODELS, DATASETS, SAMPLERS, SCHEDULERS),
    search_spaces.SPACES,
]


@pytest.fixture(scope="module", autouse=True)
def _examples() -> Iterator[None]:
    before = [dict(registry) for registry in REGISTRIES]
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(code, PAGE.name, "exec"), {})
    yield
    for registry, content in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(content)


@pytest.fixture
def bars() -> Dataset:
    return load("bars", DataOptions(), print)


def trained(dataset: Dataset, **fields: object) -> Training:
    recipe = Recipe(channels="4", hidden="4", epochs=2, batch_size=20, lr=0.1).with_fields(fields)
    training = Training(recipe, *dataset.split(), spec=dataset.spec, metrics=("accuracy", "top3"))
    list(training)
    return training


def test_the_optimizer_trains(bars: Dataset) -> None:
    assert type(trained(bars, optimizer="adagrad").optimizer) is torch.optim.Adagrad


def test_the_schedule_ends_near_zero(bars: Dataset) -> None:
    training = trained(bars, schedule="linear")
    assert training.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / (2 * training.steps))


def test_the_augmentation_changes_the_images_that_it_chooses() -> None:
    images = torch.full((4, 1, 2, 2), 55, dtype=torch.uint8)
    assert AUGMENTATIONS["invert"].function(images, 1.0).unique().tolist() == [200.0]
    assert AUGMENTATIONS["invert"].function(images, 0.0).unique().tolist() == [55.0]


def test_the_data_set_is_learnt_by_the_network_and_measured_by_the_metric(bars: Dataset) -> None:
    training = trained(bars, model="linear", normalization="dataset", epochs=5)
    validation = bars.split()[1]
    assert (training.predict(validation.images).argmax(1) == validation.labels).mean() > 0.9


def test_the_metric_counts_a_label_among_the_first_three() -> None:
    probabilities = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]] * 0.4 + np.array([0.0, 0.1, 0.2, 0.3], np.float32)
    assert METRICS["top3"].function(np.array([0, 1, 2, 0]), probabilities) == 0.75


def test_the_sampler_suggests_within_the_space() -> None:
    space = search_spaces.SPACES["learning-rate"]
    study = OptunaStudy(SearchProblem(space, "learning-rate", BASELINE, 3, seed=0, sampler="evolution"))
    rates = []
    for _ in range(5):
        suggestion = study.ask()
        assert suggestion is not None
        rates.append(suggestion.recipe.lr)
        study.apply(suggestion.started())
    assert rates[0] == BASELINE.lr
    assert len(set(rates)) == 5
    assert all(1e-3 <= rate <= 0.3 for rate in rates)


def test_the_scheduler_stops_after_two_epochs() -> None:
    scheduler = SCHEDULERS["stop-after-two"](SchedulerSettings(max_epochs=3, samples=1))
    scheduler.apply(TrialStarted(number=0, config={"lr": 0.1}, seed=1))
    for epoch, decision in ((1, CONTINUE), (2, STOP)):
        scheduler.apply(
            EpochFinished(number=0, epoch=epoch, metrics={"val_accuracy": 0.5}, seconds=1.0, time_total_s=1.0)
        )
        assert scheduler.decide(0) == decision


def test_every_example_of_the_page_is_tried() -> None:
    headings = re.findall(r"^## An? ([\w -]+): ", PAGE.read_text(), re.MULTILINE)
    assert set(headings) == {
        *("metric", "optimizer", "learning-rate schedule", "augmentation", "network family", "data set"),
        *("sampler", "scheduler", "setting", "phase", "search space"),
    }
