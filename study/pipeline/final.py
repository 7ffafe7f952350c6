"""The end of a study: winner and baseline, retrained on all 50,000 training images, meet the sealed test set.

No other module can open the test file. Each evaluation is written to study.json before it happens, and happens once per
recipe and seed, also where the final was interrupted.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from results import significance as statistics
from results.seed_deviation import pooled, published
from study.data import Dataset, Split, test_set
from study.data.test_set import Opening
from study.errors import StudyFailed
from study.execution.trainable import weights_of
from study.pipeline.trainings import FinishedTraining, PlannedTraining
from study.recipe import Recipe
from study.storage.event_log import StudyFile, now, whole, write_json
from study.storage.store import Folder

# Of the publication: test accuracy after 30 epochs, and mean training loss after 10 and 30.
PUBLISHED_ACCURACY = 0.6465
PUBLISHED_LOSS = {10: 1.073, 30: 0.528}
MISTAKES = 24
SYNTHETIC = " The images are synthetic: this says nothing about CIFAR-10."


def jobs(recipes: Mapping[str, Recipe], epochs: int, seeds: Sequence[int]) -> list[PlannedTraining]:
    """Each role's recipe with each seed; all sides of a comparison get the same seeds."""
    pairs = [(role, seed) for seed in seeds for role in recipes]
    return [PlannedTraining(role, recipes[role].with_fields({"epochs": epochs, "seed": seed})) for role, seed in pairs]


def evaluate(
    done: Sequence[FinishedTraining], training: Split, test: Split, folder: Folder, study: StudyFile
) -> dict[tuple[str, int], NDArray[np.float32]]:
    """Class probabilities of each job's network on the test images, [n, 10], by role and seed.

    They are kept in probabilities/ of `folder`, so that no network meets the test set twice.
    """
    kept = folder.path / "probabilities"
    kept.mkdir(exist_ok=True)
    probabilities = {}
    for each in done:
        role, seed = each.job.role, each.job.recipe.seed
        path = kept / f"{each.number}-{role}-{seed}.npy"
        if not path.exists():
            opening = {"time": now(), "role": role, "seed": seed, "recipe": each.job.recipe.as_dict()}
            openings = study.content["test_openings"]
            # One that was written down and cut off before its result was kept is this one.
            if not any(earlier["role"] == role and earlier["recipe"] == opening["recipe"] for earlier in openings):
                study.update(test_openings=[*openings, opening])
            predicted = _predict(each.job.recipe, _weights(folder, each.number), training, test)
            with whole(path) as file:
                np.save(file, predicted, allow_pickle=False)
        probabilities[role, seed] = _read_array(path)
    return probabilities


def _read_array(path: Path) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            array: NDArray[np.float32] = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError:
        raise StudyFailed(f"{path} is damaged; the network that it came from was not kept") from None
    return array


def _predict(recipe: Recipe, weights: bytes, training: Split, test: Split) -> NDArray[np.float32]:
    import torch

    from study.training.loop import Training

    network = Training(recipe, training, device="cuda" if torch.cuda.is_available() else "cpu")
    network.model.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True, map_location=network.device))
    return network.predict(test.images)


def conclude(
    done: Sequence[FinishedTraining],
    dataset: Dataset,
    folder: Folder,
    study: StudyFile,
) -> None:
    """Opens the test set and writes metrics.json, predictions.csv, mistakes/ and model.pt, as docs/run-directory.md has
    them.

    Raises:
        StudyFailed: a training diverged or failed.
    """
    for each in done:
        if each.status != "completed":
            raise StudyFailed(f"the final training of {each.job.role} ended {each.status}: {each.reason}")
    openings = [Opening.of(folder.path, each.job.role, each.job.recipe) for each in done]
    test = test_set.open_test_set(dataset, openings)
    probabilities = evaluate(done, dataset.training, test, folder, study)
    roles = list(dict.fromkeys(each.job.role for each in done))
    seeds = list(dict.fromkeys(each.job.recipe.seed for each in done))
    recipes = {role: next(each.job.recipe for each in done if each.job.role == role) for role in roles}
    correct = {role: np.stack([probabilities[role, seed].argmax(1) == test.labels for seed in seeds]) for role in roles}
    table = _predictions({role: probabilities[role, seeds[0]] for role in roles}, test.labels)
    with whole(folder.path / "predictions.csv") as file:
        table.to_csv(file, index=False)
    _write_mistakes(table, roles[0], test.images, folder.path / "mistakes")
    metrics: dict[str, Any] = {
        **{role: _side(recipes[role], correct[role], seeds) for role in roles},
        "published_accuracy": PUBLISHED_ACCURACY,
        "published_train_loss": {str(epoch): loss for epoch, loss in PUBLISHED_LOSS.items()},
        "final_epochs": done[0].job.recipe.epochs,
        "dataset": dataset.name,
    }
    priors = {role: pooled(published(), dataset.name, recipes[role].model) for role in roles}
    if "baseline" in roles:
        said = statistics.verdict(
            statistics.Comparison(
                correct["winner"],
                correct["baseline"],
                winner_prior=priors["winner"],
                baseline_prior=priors["baseline"],
                evaluations=test_set.count_runs(dataset),
            )
        )
        metrics |= said.as_metrics()
        metrics["sentence"] += SYNTHETIC if dataset.name == "synthetic" else ""
    if "tuned_baseline" in roles:
        steps = {"tuning": ("tuned_baseline", "baseline"), "recipe": ("winner", "tuned_baseline")}
        metrics["attribution"] = statistics.claims(
            {
                name: statistics.Comparison(correct[better], correct[than], priors[better], priors[than])
                for name, (better, than) in steps.items()
            }
        )
    write_json(folder.path / "metrics.json", metrics)
    folder.copy()  # what was made of the weights is in the store before they are gone
    _keep_weights(done, folder)


def add_evidence(folder: Path, evidence: Mapping[str, Any]) -> None:
    """Adds what `results.evidence` found in the finished run to metrics.json."""
    metrics = json.loads((folder / "metrics.json").read_bytes())
    write_json(folder / "metrics.json", {**metrics, **evidence})


def _side(recipe: Recipe, correct: NDArray[np.bool_], seeds: Sequence[int]) -> dict[str, Any]:
    """One role in metrics.json, from which images each seed's network got right, bool [seeds, images]."""
    accuracies = correct.mean(1)
    return {
        "recipe": recipe.as_dict(),
        "accuracy": float(accuracies[0]),
        "interval": list(asdict(statistics.wilson(int(correct[0].sum()), correct.shape[1])).values()),
        "mean": float(accuracies.mean()),
        "standard_deviation": float(accuracies.std(ddof=1)) if len(seeds) > 1 else None,
        "n": correct.shape[1],
        "seeds": [{"seed": seed, "accuracy": float(each)} for seed, each in zip(seeds, accuracies, strict=True)],
    }


def _predictions(first: dict[str, NDArray[np.float32]], labels: NDArray[np.int64]) -> pd.DataFrame:
    """One row per test image: image, label, then each role's class and its probability (first seed)."""
    table = pd.DataFrame({"image": np.arange(len(labels)), "label": labels})
    for role, given in first.items():
        table[role] = given.argmax(1)
    for role, given in first.items():
        table[f"{role}_confidence"] = given.max(1)
    return table


def _write_mistakes(table: pd.DataFrame, role: str, images: NDArray[np.uint8], folder: Path) -> None:
    """The most confident mistakes of `role` as PNGs of 32 x 32, named by the index of the test image."""
    folder.mkdir(exist_ok=True)
    wrong = table[table[role] != table["label"]].nlargest(MISTAKES, f"{role}_confidence")
    for image in wrong["image"]:
        Image.fromarray(images[image]).save(folder / f"{image}.png")


def _weights(folder: Folder, number: int) -> bytes:
    weights = folder.store.read(weights_of(number))
    if weights is None:
        raise StudyFailed(f"{weights_of(number)}, a network that was trained, is gone from {folder.store.location}")
    return weights


def _keep_weights(done: Sequence[FinishedTraining], folder: Folder) -> None:
    """Keeps the first training's network as model.pt and removes the others, which the record can make again."""
    for each in done:
        name = weights_of(each.number)
        if each is done[0] and (weights := folder.store.read(name)) is not None:
            with whole(folder.path / "model.pt") as file:
                file.write(weights)
        folder.store.delete(name)
