"""A finished run made in a second: a small network is really trained, its records are written by hand, without Ray."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from made_run import write_events, write_study
from numpy.typing import NDArray
from PIL import Image

from results.significance import wilson
from study.data.dataset import Split, image_spec
from study.recipe import Recipe
from study.training.loop import Training

CLASSES = ("blue", "green", "red")
SIDE = 12
RECIPE = Recipe(channels="4-8", padding="same", hidden="8", lr=0.05, batch_size=16, epochs=4, seed=3)


@dataclass(frozen=True)
class FinishedRun:
    """The run, the test images that its winner was evaluated on, and what it answered, float32 [N, 3]."""

    path: Path
    test: Split
    probabilities: NDArray[np.float32]


def coloured(number: int, seed: int, channels: int = 3) -> Split:
    """Noise with a tint by class, uint8 [number, 12, 12, channels]; grey ones differ in brightness."""
    random = np.random.RandomState(seed)
    labels = np.arange(number) % len(CLASSES)
    images = random.randint(0, 160, (number, SIDE, SIDE, channels))
    for label in range(len(CLASSES)):
        if channels == 3:
            images[labels == label, :, :, 2 - label] += 60
        else:
            images[labels == label] += 45 * label
    return Split(images.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def finished_run(path: Path, recipe: Recipe = RECIPE, channels: int = 3, **study: Any) -> FinishedRun:
    """Trains `recipe` and writes the run at `path`.

    Args:
        study: overrides keys of study.json.
    """
    train, test = coloured(240, 0, channels), coloured(60, 1, channels)
    spec = image_spec(train, len(CLASSES))
    training = Training(recipe, train, spec=spec)
    for _ in training:
        pass
    probabilities = training.predict(test.images)
    path.mkdir(parents=True)
    about = {"digest": "d1" * 32, "split_digest": "5e" * 32, "train": 216, "validation": 24}
    data = {**about, "classes": list(CLASSES), "spec": asdict(spec)}
    write_study(path, {}, **{"dataset": "colours", "data": data, "max_epochs": recipe.epochs, **study})
    write_events(path / "epochs.jsonl", [])
    (path / "final").mkdir()
    torch.save(training.model.state_dict(), path / "final" / "model.pt")
    right = probabilities.argmax(1) == test.labels
    side = {
        "recipe": recipe.as_dict(),
        "accuracy": float(right.mean()),
        "interval": list(asdict(wilson(int(right.sum()), len(right))).values()),
        "mean": float(right.mean()),
        "standard_deviation": None,
        "n": len(right),
        "seeds": [{"seed": recipe.seed, "accuracy": float(right.mean())}],
    }
    final = {
        "winner": side,
        "baseline": side,
        "difference": 0.0,
        "difference_interval": [-0.05, 0.05],
        "verdict": "no evidence",
        "sentence": "They tie.",
        "final_epochs": recipe.epochs,
        "dataset": "colours",
        "published_accuracy": None,
    }
    (path / "final" / "metrics.json").write_text(json.dumps(final))
    table = {"image": range(len(right)), "label": test.labels}
    for role in ("winner", "baseline"):
        table |= {role: probabilities.argmax(1), f"{role}_confidence": probabilities.max(1)}
    pd.DataFrame(table).to_csv(path / "final" / "predictions.csv", index=False)
    return FinishedRun(path, test, probabilities)


def write_images(folder: Path, split: Split) -> list[Path]:
    """One PNG an image, folder/CLASS/<number>.png; their paths in the order of the split."""
    paths = []
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        path = folder / CLASSES[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(path)
        paths.append(path)
    return paths
