"""Temperature scaling of the winner (Guo et al. 2017, arXiv:1706.04599): probabilities that mean what they say.

    fitted = of_run(winner, data_dir=Path("data"), say=print)
    calibrate(winner, fitted)                  # winner.module now divides its logits by fitted.temperature

The winner has trained on the validation images, so its own probabilities for them say nothing. Its recipe is trained
once more without them, with the same seed, and the temperature is fitted on that network's probabilities. This assumes
that both networks are equally too sure. No test image is used.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import results
from results.calibration import at_temperature, expected_calibration_error, fit_temperature, log_loss
from study.config import ReproduceConfig, StudyConfig
from study.data import Split
from study.errors import ModelError
from study.pipeline.prepare_run import dataset_of_run
from study.pipeline.resume_settings import recorded_settings
from study.pipeline.trusted_code import verified
from study.storage.files import write_json
from study.training.loop import Diverged, Training
from study.winner.model import Classifier, Winner

FILE = "final/temperature.json"


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, and what it does to the validation images that it was fitted on.

    Attributes:
        temperature: logits are divided by it; above 1 where the network was too sure.
        validation_images: how many it was fitted on.
        calibration_error_before, calibration_error_after: expected calibration error, fractions.
        log_loss_before, log_loss_after: in nats.
        recipe: what was trained for it.
    """

    temperature: float
    validation_images: int
    calibration_error_before: float
    calibration_error_after: float
    log_loss_before: float
    log_loss_after: float
    recipe: dict[str, Any]


def of_run(
    winner: Winner, data_dir: Path, trust_code: bool = False, say: Callable[[str], None] = lambda line: None
) -> Temperature:
    """The winner's temperature, fitted on the validation images of its run. It is kept in the run for the next call.

    Args:
        data_dir: where images are kept.
        trust_code: a function of somebody else that gives the data set may be executed.
        say: takes one line an epoch.

    Raises:
        DataError, UsageError: the images are not there, or are not those of the run.
        UserCodeError: the data set is a function that may not be executed.
        ModelError: as `fit`.
    """
    kept = _read(winner)
    if kept is not None:
        return kept
    run = results.load_run(winner.run_dir)
    kind = ReproduceConfig if run.study.get("kind") == "baseline" else StudyConfig
    recorded = recorded_settings(kind, run.study)
    asked = recorded.model_copy(update={"data_dir": data_dir, "trust_code": trust_code})
    config, notices = verified(asked, run.path, {}, {"dataset": "dataset"})
    for notice in notices:
        say(notice)
    fitted = fit(winner, *dataset_of_run(run, config, say).split(), say=say)
    try:
        write_json(winner.run_dir / FILE, asdict(fitted))
    except OSError as error:
        say(f"warning: {winner.run_dir / FILE} cannot be written ({error.strerror}); the next export fits it again")
    return fitted


def fit(winner: Winner, train: Split, validation: Split, say: Callable[[str], None] = lambda line: None) -> Temperature:
    """Trains the winner's recipe on `train` and fits the temperature on `validation`.

    Args:
        train, validation: without a common image.
        say: takes one line an epoch.

    Raises:
        ModelError: the winner is of a trainer of the user's own, whose logits are not known, or the training diverged.
    """
    known = winner.trainer
    if not isinstance(known, Training):
        raise ModelError(f"the winner of {winner.run_dir} was trained by your own trainer; calibrate inside it")
    # The network is the winner's, wherever its file is now; pretrained weights are where it began.
    recipe = known.recipe.with_fields({"pretrained": winner.recipe.pretrained})
    training = Training(recipe, train, validation, spec=winner.spec)
    try:
        for epoch in training:
            say(f"calibration: epoch {epoch.number} of {recipe.epochs}")
    except Diverged as diverged:
        raise ModelError(f"the winner's recipe diverged without the validation images: {diverged}") from None
    labels, before = validation.labels, training.predict(validation.images)
    temperature = fit_temperature(labels, before)
    after = at_temperature(before, temperature)
    return Temperature(
        temperature,
        len(labels),
        expected_calibration_error(labels, before),
        expected_calibration_error(labels, after),
        log_loss(labels, before),
        log_loss(labels, after),
        winner.recipe.as_dict(),
    )


def calibrate(winner: Winner, fitted: Temperature) -> None:
    """Makes `winner.module`, and so what is exported, divide its logits by the temperature.

    `winner.predict_proba` stays what was evaluated on the test set. The predicted classes are the same.
    """
    assert isinstance(winner.module, Classifier)
    winner.module.temperature = torch.tensor(fitted.temperature, device=winner.module.mean.device)


def _read(winner: Winner) -> Temperature | None:
    """What an earlier call has kept for this winner; None where there is nothing, or for another recipe."""
    try:
        found = Temperature(**json.loads((winner.run_dir / FILE).read_text()))
        usable = all(math.isfinite(each) for name, each in vars(found).items() if name != "recipe")
    except (OSError, ValueError, TypeError):
        return None
    if not usable or found.temperature <= 0:
        return None
    return found if found.recipe == winner.recipe.as_dict() else None
