"""The winner's probabilities, calibrated on images that it has not seen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finished_run import RECIPE, coloured, finished_run

from results.calibration import at_temperature, log_loss
from study.data.dataset import Split
from study.errors import ModelError
from study.training.loop import Training
from study.winner.model import Winner, load
from study.winner.temperature import FILE, Temperature, _read, calibrate, fit

TRAIN, CLEAN = coloured(120, 2), coloured(90, 3)
# A fifth of the labels are wrong, so that a network that is sure of itself is too sure.
VALIDATION = Split(CLEAN.images, np.where(np.arange(90) % 5 == 0, (CLEAN.labels + 1) % 3, CLEAN.labels))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "colours").path


@pytest.fixture(scope="module")
def fitted(path: Path) -> Temperature:
    return fit(load(path), TRAIN, VALIDATION)


def test_no_other_temperature_has_a_smaller_log_loss(path: Path, fitted: Temperature) -> None:
    lines: list[str] = []
    assert fit(load(path), TRAIN, VALIDATION, lines.append) == fitted
    assert lines[-1] == "calibration: epoch 4 of 4"
    training = Training(RECIPE, TRAIN, VALIDATION, spec=load(path).spec)
    list(training)
    probabilities = training.predict(VALIDATION.images)
    at = {
        factor: log_loss(VALIDATION.labels, at_temperature(probabilities, fitted.temperature * factor))
        for factor in (0.8, 0.95, 1.0, 1.05, 1.25)
    }
    assert min(at, key=lambda factor: at[factor]) == 1.0
    assert fitted.temperature > 1.2
    assert fitted.log_loss_after == pytest.approx(at[1.0])
    assert fitted.validation_images == 90


def test_a_calibrated_winner_answers_the_same_classes_with_other_probabilities(path: Path) -> None:
    winner = load(path)
    before = winner.predict_proba(VALIDATION.images)
    calibrate(winner, Temperature(2.0, 90, 0.1, 0.1, 1.0, 1.0, {}))
    after = winner.module(torch.from_numpy(VALIDATION.images)).numpy()
    assert np.allclose(after, at_temperature(before, 2.0), atol=1e-5)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert (after.max(1) < before.max(1)).all()
    assert (winner.predict_proba(VALIDATION.images) == before).all()


def damaged(**changed: Any) -> str:
    values = Temperature(1.5, 90, 0.1, 0.1, 1.0, 0.9, RECIPE.as_dict())
    return json.dumps({**vars(values), **changed})


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[1]",
        "no JSON",
        '{"temperature": 1}',
        damaged(temperature=0),
        damaged(temperature=float("inf")),
        damaged(temperature="1.5"),
        damaged(log_loss_after=None),
    ],
)
def test_what_another_recipe_or_a_damaged_file_left_is_not_used(path: Path, fitted: Temperature, content: str) -> None:
    winner, file = load(path), path / FILE
    file.write_text(content)
    assert _read(winner) is None
    other = {**vars(fitted), "recipe": replace(RECIPE, lr=0.01).as_dict()}
    file.write_text(json.dumps(other))
    assert _read(winner) is None
    file.write_text(json.dumps(vars(fitted)))
    assert _read(winner) == fitted


def test_a_trainer_of_ones_own_calibrates_itself(path: Path) -> None:
    winner = load(path)
    own = Winner(object(), winner.recipe, winner.spec, ["a"], path)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="calibrate inside it"):
        fit(own, TRAIN, VALIDATION)


def test_a_recipe_that_diverges_is_one_line(path: Path) -> None:
    winner = load(path)
    assert isinstance(winner.trainer, Training)
    winner.trainer.recipe = replace(RECIPE, lr=100.0, momentum=0.999, batch_size=4, weight_decay=0.5)
    with pytest.raises(ModelError, match="diverged without the validation images: loss"):
        fit(winner, TRAIN, VALIDATION)
