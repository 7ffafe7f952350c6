"""The end of a study: retrain on all 50,000 training images, open the sealed test set, compare.

No other module can open the test file. Each evaluation is written to study.json before it happens, and happens once per
recipe and seed, also where the final was interrupted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from results import statistics

from study import data
from study.data import Split
from study.record import Record, StudyFile, now, write_json
from study.recipe import Recipe
from study.resources import Slots
from study.search import Arrays, Interruption, Listed, Recorder, StudyFailed, run_trials

PUBLISHED_ACCURACY = 0.6465  # test accuracy of the publication after 30 epochs, read off its text
MISTAKES = 24


@dataclass(frozen=True)
class Job:
    """One final training: its number, what it is for, its seed, and its whole Recipe."""

    number: int
    role: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        return f"{self.role}-{self.seed}"


def jobs(recipes: dict[str, Recipe], epochs: int, seeds: Sequence[int]) -> list[Job]:
    """Each role's recipe with each seed; both sides of a comparison get the same seeds."""
    pairs = [(role, seed) for seed in seeds for role in recipes]
    return [
        Job(number, role, seed, recipes[role].with_fields({"epochs": epochs, "seed": seed}))
        for number, (role, seed) in enumerate(pairs)
    ]


def retrain(
    todo: Sequence[Job], training: Split, folder: Path, record: Record, slots: Slots, interruption: Interruption
) -> None:
    """Trains each job on all training images, side by side where `slots` allow, and keeps the networks in `folder`.

    What `record` says is done is not done again.

    Raises:
        StudyFailed: a training diverged or failed.
    """
    ended = {event["number"] for event in record.events if event["event"] == "end"}
    begun = {event["number"] for event in record.events if event["event"] == "trial"}
    left = [job for job in todo if job.number not in ended]
    for job in left:
        if job.number not in begun:
            record.append({"event": "trial", **_label(job), "number": job.number, "config": job.recipe.as_dict()})
    if left:
        epochs = left[0].recipe.epochs
        run_trials(
            Listed([{"number": job.number, "recipe": job.recipe.as_dict()} for job in left]),
            None,
            Recorder(record, epochs, {job.number: _label(job) for job in todo}),
            count=len(left),
            arrays=Arrays(training, None),
            slots=slots,
            interruption=interruption,
            folder=folder,
            checkpoint_epochs=(),
            weights=folder,
        )
    for event in record.events:
        if event["event"] == "end" and event["status"] != "completed":
            raise StudyFailed(f"the final training of {event['role']} ended {event['status']}: {event['stop_reason']}")


def _label(job: Job) -> dict[str, Any]:
    return {"role": job.role, "seed": job.seed}


def evaluate(
    done: Sequence[Job], training: Split, data_dir: Path, dataset: str, folder: Path, study: StudyFile
) -> dict[str, np.ndarray]:
    """Class probabilities of each job's network on the test images, float32 [n, 10], by the job's name.

    Writes them to `folder`/probabilities, so that no network meets the test set twice.
    """
    kept = folder / "probabilities"
    kept.mkdir(exist_ok=True)
    test = open_test(data_dir, dataset)
    probabilities = {}
    for job in done:
        path = kept / f"{job.name}.npy"
        if not path.exists():
            opening = {"time": now(), "role": job.role, "seed": job.seed, "recipe": job.recipe.as_dict()}
            study.update(test_openings=[*study.content["test_openings"], opening])
            _save_array(path, _predict(job.recipe, folder / f"{job.number}.pt", training, test))
        probabilities[job.name] = np.load(path, allow_pickle=False)
    return probabilities


def open_test(data_dir: Path, dataset: str) -> Split:
    """The sealed test set: the one place that reads its file."""
    return data.read_verified(data_dir, dataset, "test")


def _predict(recipe: Recipe, weights: Path, training: Split, test: Split) -> np.ndarray:
    import torch

    from study.training import Training

    network = Training(recipe, training, device="cuda" if torch.cuda.is_available() else "cpu")
    network.model.load_state_dict(torch.load(weights, weights_only=True, map_location=network.device))
    logits = network.predict(torch.from_numpy(test.images))
    return logits.softmax(1).cpu().numpy()


def _save_array(path: Path, array: np.ndarray) -> None:
    temporary = path.with_suffix(".part.npy")
    np.save(temporary, array, allow_pickle=False)
    temporary.replace(path)


def compare(
    recipes: dict[str, Recipe], done: Sequence[Job], probabilities: dict[str, np.ndarray], test: Split
) -> statistics.Verdict:
    """The winner against the baseline on the same test images, over all seeds."""
    correct = {
        role: np.stack([probabilities[job.name].argmax(1) == test.labels for job in done if job.role == role])
        for role in recipes
    }
    return statistics.verdict(correct["winner"], correct["baseline"])


def predictions(first: dict[str, np.ndarray], labels: np.ndarray) -> pd.DataFrame:
    """One row per test image: image, label, then each role's class and its probability (first seed).

    Args:
        first: role -> probabilities float32 [n, 10].
        labels: int64 [n].
    """
    table = pd.DataFrame({"image": np.arange(len(labels)), "label": labels})
    for role, given in first.items():
        table[role] = given.argmax(1)
    for role, given in first.items():
        table[f"{role}_confidence"] = given.max(1)
    return table


def write_mistakes(table: pd.DataFrame, role: str, images: np.ndarray, folder: Path) -> None:
    """The most confident mistakes of `role` as PNGs of 32 x 32, named by the index of the test image."""
    folder.mkdir(exist_ok=True)
    wrong = table[table[role] != table["label"]].nlargest(MISTAKES, f"{role}_confidence")
    for image in wrong["image"]:
        Image.fromarray(images[image]).save(folder / f"{image}.png")
