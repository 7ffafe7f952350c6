"""The trained winner of a finished run, ready to use.

    winner = study.load_winner("runs/NAME")
    winner.predict(["photo.jpg", "more/"])      # class names
    winner.predict_proba(images)                # float32 [N, classes]
    winner.module(torch.from_numpy(images))     # the same, as a torch.nn.Module

Only weights-only torch files and JSON are read. A network or a trainer of the user's own is executed under the same
rules as when a run is resumed, see study.pipeline.trusted_code.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import results
from study.data.dataset import CIFAR10, ImageSpec, Split
from study.data.inputs import list_images, read_images
from study.errors import DataError, ModelError, StudyError
from study.pipeline.trusted_code import Permission, verified_network
from study.recipe import Recipe
from study.training.loop import Training, normalization
from study.training.trainer import Trainer, UserTrainer, build_trainer, load_final_state

# Images that are decoded and classified at a time.
BATCH = 256
# The role whose network a run keeps: that of a search, and that of `study.baseline`.
ROLES = ("winner", "recipe_under_test")


class Classifier(nn.Module):
    """A network with its preprocessing and its softmax.

    Args:
        network: takes normalised float32 [N, C, H, W], gives logits [N, classes].
        mean, std: one value a channel, for pixels in [0, 1].

    Attributes:
        temperature: logits are divided by it; 1 unless study.winner.temperature has set it.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(-1, 1, 1))
        self.register_buffer("temperature", torch.tensor(1.0))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities float32 [N, classes] for images uint8 [N, H, W, C]."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return (logits.to(torch.float32) / self.temperature).softmax(1)


class Winner:
    """A trained classifier with scikit-learn's habits.

    Attributes:
        classes_: class names by label, an array of str.
        recipe: what it was trained with.
        spec: size and channels of the images that it was trained on.
        run_dir: where it comes from.
        trainer: the training that it was built with, at the end of its training.
        module: see below.
    """

    def __init__(self, trainer: Trainer, recipe: Recipe, spec: ImageSpec, classes: list[str], run_dir: Path) -> None:
        self.trainer, self.recipe, self.spec, self.run_dir = trainer, recipe, spec, run_dir
        self.classes_: NDArray[np.str_] = np.array(classes)
        self._module: Any = trainer.own if isinstance(trainer, UserTrainer) else trainer
        if isinstance(trainer, Training):
            classifier = Classifier(trainer.model, *normalization(recipe, spec)).to(trainer.device).eval()
            self._module = classifier.requires_grad_(False)

    def __repr__(self) -> str:
        return f"<Winner of {self.run_dir}: {self.recipe.model}, {len(self.classes_)} classes>"

    @property
    def module(self) -> Any:
        """The network as a Classifier in eval mode: uint8 [N, H, W, C] to probabilities. `module.network` is the
        network itself. For a trainer of the user's own it is the trainer.

        It always computes in float32. `predict` computes as the evaluation on the test set did, which is bfloat16 where
        the recipe says so.
        """
        return self._module

    def predict(self, X: Any) -> NDArray[np.str_]:
        """The name of the most probable class of each image, [N]. See `predict_proba`."""
        names: NDArray[np.str_] = self.classes_[self.predict_proba(X).argmax(1)]
        return names

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """The probability of each class, [N, classes], in the order of `classes_`.

        Args:
            X: uint8 arrays [N, H, W, C] or [H, W, C] of the size that the network was trained on; PIL images, paths, or
                folders, of any size, which are converted and resized as for training; or a list of these. A folder's
                images are taken in the order of their paths.

        Raises:
            DataError: an image cannot be read, or an array is not of the network's size.
        """
        probabilities = [np.empty((0, len(self.classes_)), np.float32)]
        items = list_images(X, self.spec)
        for start in range(0, len(items), BATCH):
            images, unreadable = read_images(items[start : start + BATCH], self.spec)
            if unreadable:
                first = unreadable[0]
                more = f" ({len(unreadable) - 1} more like it)" if len(unreadable) > 1 else ""
                raise DataError(f"{first.name} cannot be read: {first.reason}{more}")
            probabilities.append(self.predict_batch(images))
        return np.concatenate(probabilities)

    def predict_batch(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `predict_proba`, of one array [N, H, W, C]."""
        return np.asarray(self.trainer.predict(images), np.float32)


def load(run_dir: Path, permission: Permission | None = None, say: Callable[[str], None] = lambda line: None) -> Winner:
    """The winner of a finished run: the final training of its first seed.

    Args:
        permission: what the user says about a network or a trainer of the user's own.
        say: takes one line about such code, such as that the copy in the run is used.

    Raises:
        StudyError: the run has no finished final, its files are damaged, or what a trainer or a network of the user's
            own was made of is not there or may not be executed.
    """
    run_dir = Path(run_dir)
    study, metrics = read_records(run_dir)
    role = next(each for each in ROLES if each in metrics)
    seed = metrics[role]["seeds"][0]["seed"]
    recipe = Recipe.from_dict({**metrics[role]["recipe"], "seed": seed})
    spec, classes = spec_of(study), class_names(study)
    recorded = (study.get("arguments") or {}).get("trainer")
    model, reference, notices = verified_network(run_dir, recipe.model, recorded, permission or Permission())
    for notice in notices:
        say(notice)
    trainer = _untrained(recipe.with_fields({"model": model}), spec, reference)
    _load_state(trainer, run_dir / "final" / "model.pt")
    return Winner(trainer, recipe, spec, classes, run_dir)


def read_records(run_dir: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """study.json and final/metrics.json of a finished run.

    Raises:
        StudyError: it is no run, or its final has not finished.
    """
    try:
        run = results.load_run(run_dir)
    except results.RunError as error:
        raise StudyError(str(error)) from None
    if run.final is None or not (run_dir / "final" / "model.pt").exists():
        raise ModelError(
            f"{run_dir} has no winner: its final training has not finished (status: {run.status}); continue it: "
            f"{run.resume_command}"
        )
    return run.study, run.final


def is_kept(run_dir: Path, study: Mapping[str, Any]) -> bool:
    """Whether the winner of a finished run can be loaded: a trainer that cannot save its state leaves none."""
    if (study.get("arguments") or {}).get("trainer") is None:
        return True
    state = torch.load(run_dir / "final" / "model.pt", weights_only=True, map_location="cpu")
    return not (isinstance(state, dict) and set(state) == {"epoch", "own"} and state["own"] is None)


def spec_of(study: Mapping[str, Any]) -> ImageSpec:
    """Size, channels and classes of the images of a run, from its study.json.

    Raises:
        DataError: study.json does not have them.
    """
    recorded = study["data"].get("spec")
    if recorded is not None:
        return ImageSpec(**{**recorded, "mean": tuple(recorded["mean"]), "std": tuple(recorded["std"])})
    # Runs recorded before version 0.2 name no spec; they knew these two data sets only.
    if study["dataset"] in ("cifar10", "synthetic"):
        return CIFAR10
    raise DataError(f"study.json of {study['name']} does not say what its images are like (data.spec)")


def class_names(study: Mapping[str, Any]) -> list[str]:
    """By label."""
    from study.data.sources import cifar10, synthetic

    if "classes" in study["data"]:
        return list(study["data"]["classes"])
    # Before version 0.2, as in spec_of.
    return list(synthetic.CLASS_NAMES if study["dataset"] == "synthetic" else cifar10.CLASS_NAMES)


def _untrained(recipe: Recipe, spec: ImageSpec, reference: str | None) -> Trainer:
    """A training of `recipe` that has not begun, on one black image a class, whose state is then replaced."""
    black = np.zeros((spec.num_classes, spec.height, spec.width, spec.channels), np.uint8)
    split = Split(black, np.arange(spec.num_classes, dtype=np.int64))
    # The weights are in model.pt, so that nothing needs to be downloaded.
    return build_trainer(reference, recipe.with_fields({"pretrained": False}), split, None, spec=spec)


def _load_state(trainer: Trainer, file: Path) -> None:
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:
        # A damaged file makes torch raise RuntimeError, EOFError, UnpicklingError, or what zipfile raises.
        raise ModelError(f"{file} cannot be read: {_one_line(error)}") from None
    if isinstance(trainer, UserTrainer) and not trainer.saves_state:
        # It would be trained again, on black images.
        raise ModelError(
            f"trainer {trainer.reference!r} cannot save its state, so its winner was not kept; give it state_dict and "
            "load_state_dict"
        )
    try:
        load_final_state(trainer, state)
    except Exception as error:
        raise ModelError(f"{file} does not fit the network of its recipe: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
