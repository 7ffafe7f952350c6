"""The end of a study: retrain on all 50,000 training images, open the sealed test set, compare.

No other module can open the test file. Each evaluation is written to study.json before it happens, and happens once per
recipe and seed, also where the final was interrupted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from results import statistics
from study import data
from study.data import Split
from study.recipe import Recipe
from study.record import Record, StudyFile, now, whole, write_json
from study.resources import Slots
from study.tuning import Arrays, Interruption, Listed, Recorder, StudyFailed, run_trials

# Of the publication: test accuracy after 30 epochs, and mean training loss after 10 and 30.
PUBLISHED_ACCURACY = 0.6465
PUBLISHED_LOSS = {10: 1.073, 30: 0.528}
MISTAKES = 24
SYNTHETIC = " The images are synthetic: this says nothing about CIFAR-10."


@dataclass(frozen=True)
class Job:
    """One final training: its number, what it is for, its seed, and its whole Recipe."""

    number: int
    role: str
    seed: int
    recipe: Recipe


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
    done: Sequence[Job], training: Split, test: Split, folder: Path, study: StudyFile
) -> dict[tuple[str, int], NDArray[np.float32]]:
    """Class probabilities of each job's network on the test images, [n, 10], by role and seed.

    They are kept in `folder`/probabilities, so that no network meets the test set twice.
    """
    kept = folder / "probabilities"
    kept.mkdir(exist_ok=True)
    probabilities = {}
    for job in done:
        path = kept / f"{job.role}-{job.seed}.npy"
        if not path.exists():
            opening = {"time": now(), "role": job.role, "seed": job.seed, "recipe": job.recipe.as_dict()}
            study.update(test_openings=[*study.content["test_openings"], opening])
            with whole(path) as file:
                np.save(file, _predict(job.recipe, folder / f"{job.number}.pt", training, test), allow_pickle=False)
        probabilities[job.role, job.seed] = np.load(path, allow_pickle=False)
    return probabilities


def check_test_file(data_dir: Path, dataset: data.Dataset) -> None:
    """Has the test file's checksum looked at before anything expensive; its images go nowhere.

    Raises:
        DataError: the file is missing, truncated or altered.
    """
    open_test(data_dir, dataset)


def open_test(data_dir: Path, dataset: data.Dataset) -> Split:
    """The sealed test set: the one place that reads its file."""
    return data.read(data_dir, data.TEST[dataset])


def _predict(recipe: Recipe, weights: Path, training: Split, test: Split) -> NDArray[np.float32]:
    import torch

    from study.training import Training

    network = Training(recipe, training, device="cuda" if torch.cuda.is_available() else "cpu")
    network.model.load_state_dict(torch.load(weights, weights_only=True, map_location=network.device))
    logits = network.predict(torch.from_numpy(test.images))
    probabilities: NDArray[np.float32] = logits.softmax(1).cpu().numpy()
    return probabilities


def conclude(
    done: Sequence[Job], training: Split, data_dir: Path, dataset: data.Dataset, folder: Path, study: StudyFile
) -> None:
    """Opens the test set and writes metrics.json, predictions.csv, mistakes/ and model.pt, as docs/run-directory.md has
    them."""
    test = open_test(data_dir, dataset)
    probabilities = evaluate(done, training, test, folder, study)
    roles = list(dict.fromkeys(job.role for job in done))
    seeds = list(dict.fromkeys(job.seed for job in done))
    correct = {role: np.stack([probabilities[role, seed].argmax(1) == test.labels for seed in seeds]) for role in roles}
    table = _predictions({role: probabilities[role, seeds[0]] for role in roles}, test.labels)
    table.to_csv(folder / "predictions.csv", index=False)
    _write_mistakes(table, roles[0], test.images, folder / "mistakes")
    sides = {
        role: {
            "recipe": next(job.recipe.as_dict() for job in done if job.role == role),
            "accuracy": float(correct[role][0].mean()),
            "interval": list(asdict(statistics.wilson(int(correct[role][0].sum()), len(test.labels))).values()),
            "n": len(test.labels),
            "seeds": [
                {"seed": seed, "accuracy": float(of_seed.mean())}
                for seed, of_seed in zip(seeds, correct[role], strict=True)
            ],
        }
        for role in roles
    }
    metrics: dict[str, Any] = {
        **sides,
        "published_accuracy": PUBLISHED_ACCURACY,
        "published_train_loss": {str(epoch): loss for epoch, loss in PUBLISHED_LOSS.items()},
        "final_epochs": done[0].recipe.epochs,
        "dataset": dataset,
    }
    if len(roles) == 2:
        said = statistics.verdict(correct[roles[0]], correct[roles[1]])
        metrics |= {
            "difference": said.difference,
            "difference_interval": [said.difference_interval.low, said.difference_interval.high],
            "mcnemar": {
                f"only_{roles[0]}": said.mcnemar.only_a,
                f"only_{roles[1]}": said.mcnemar.only_b,
                "p_value": said.mcnemar.p_value,
            },
            "verdict": said.verdict,
            "about": said.about,
            "sentence": said.sentence + (SYNTHETIC if dataset == "synthetic" else ""),
        }
    write_json(folder / "metrics.json", metrics)
    _keep_weights(done, folder)


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


def _keep_weights(done: Sequence[Job], folder: Path) -> None:
    """Keeps the first job's network as model.pt and removes the others, which the record can make again."""
    for job in done:
        weights = folder / f"{job.number}.pt"
        if job is done[0] and weights.exists():
            weights.replace(folder / "model.pt")
        weights.unlink(missing_ok=True)
