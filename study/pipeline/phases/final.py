"""The end of a study: winner and baseline are trained on all training images and meet the sealed test set.

Each evaluation is written down before it happens, in study.json and in the ledger of the data directory, and happens
once per recipe and seed, also where the final was interrupted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from results import calibration, significance
from results.label_errors import label_errors
from results.seed_deviation import pooled, published
from results.significance import Comparison
from study.config import ReproduceConfig, StudyConfig
from study.data import Split, test_set
from study.data.test_set import Opening
from study.errors import StudyFailed
from study.execution import predictions
from study.execution.trainable import weights_of
from study.pipeline.phases import check_images
from study.pipeline.phases.planned_trainings import FinishedTraining, PlannedTraining, TrainingOptions, run_trainings
from study.pipeline.published import published_for
from study.pipeline.run_context import FINAL, ReproduceContext, RunContext, StudyContext
from study.recipe import BASELINE as BASELINE_RECIPE
from study.recipe import Recipe, load_recipe
from study.storage.files import atomic_write, write_json
from study.storage.store import Folder
from study.storage.study_file import now
from study.training import models
from study.training.cost import measure_costs
from study.training.metrics import METRICS

PICTURES = 24  # at most, of mistakes and of candidate label errors
# Accuracy of the best network below which what networks contradict says little about labels.
ACCURATE_ENOUGH = 0.7
SYNTHETIC = " The images are synthetic: this says nothing about real ones."
WINNER, BASELINE, TUNED_BASELINE, UNDER_TEST = "winner", "baseline", "tuned_baseline", "recipe_under_test"


class Final:
    """Trains winner and baseline from the same `--final-seeds` seeds, evaluates them, and writes final/."""

    name = "final"

    def enabled(self, config: StudyConfig) -> bool:
        return True

    def run(self, context: StudyContext) -> None:
        config = context.config
        recipes = {
            WINNER: load_recipe(str(context.run_dir / "best.json")),
            BASELINE: baseline_recipe(context),
        }
        if config.tune_baseline:
            recipes[TUNED_BASELINE] = load_recipe(str(context.run_dir / "tuned-baseline" / "best.json"))
        _train_and_conclude(context, recipes, config.final_epochs, context.seeds(FINAL, config.final_seeds))


class Reproduction:
    """Trains one recipe from several seeds, evaluates it, and writes final/."""

    name = "final"

    def enabled(self, config: ReproduceConfig) -> bool:
        return True

    def run(self, context: ReproduceContext) -> None:
        recipe = Recipe.from_dict(context.study.content["base"])
        epochs = context.config.epochs or recipe.epochs
        _train_and_conclude(context, {UNDER_TEST: recipe}, epochs, context.seeds(FINAL, context.config.seeds))


def baseline_recipe(context: StudyContext) -> Recipe:
    """What the winner is compared with, as study.json has it."""
    return Recipe.from_dict(context.study.content["baseline"])


def _train_and_conclude(
    context: RunContext[Any], recipes: Mapping[str, Recipe], epochs: int, seeds: Sequence[int]
) -> None:
    planned = [
        PlannedTraining(role, recipe.with_fields({"epochs": epochs, "seed": seed}))
        for seed in seeds
        for role, recipe in recipes.items()
    ]
    options = TrainingOptions(on_all_training_images=True, keep_weights=True)
    finished = run_trainings(context, planned, "final", options)
    if context.interruption.signal_number is None:
        _conclude(context, finished)


def _conclude(context: RunContext[Any], finished: Sequence[FinishedTraining]) -> None:
    """Opens the test set and writes what docs/run-directory.md lists under final/.

    Raises:
        StudyFailed: no seed is left for which every role was trained.
    """
    finished, diverged = _complete_seeds(finished)
    folder = context.folder.below("final")
    evaluated = _evaluate(context, finished, folder)
    test = evaluated.test
    table = _predictions({role: evaluated.first(role) for role in evaluated.roles}, test.labels)
    with atomic_write(folder.path / "predictions.csv") as file:
        table.to_csv(file, index=False)
    metrics = _metrics(context, evaluated)
    role = evaluated.roles[0]
    mistakes = table[table[role] != table["label"]].nlargest(PICTURES, f"{role}_confidence")["image"]
    _write_pictures(mistakes, test.images, folder.path / "mistakes")
    _write_pictures(metrics["candidate_label_errors"][:PICTURES], test.images, folder.path / "label-errors")
    write_json(folder.path / "metrics.json", {**metrics, "diverged": diverged})
    folder.copy()  # what was made of the weights is in the store before they are deleted
    _keep_weights(finished, folder)


def _complete_seeds(finished: Sequence[FinishedTraining]) -> tuple[list[FinishedTraining], list[dict[str, Any]]]:
    """The trainings of the seeds for which every role was trained, and those that were not completed."""
    failed = [each for each in finished if each.status != "completed"]
    lost = {each.planned.recipe.seed for each in failed}
    kept = [each for each in finished if each.planned.recipe.seed not in lost]
    if not kept:
        first = failed[0]
        raise StudyFailed(
            f"the final training of {first.planned.role} ended {first.status}: {first.reason}",
            resumable=first.status == "failed",
        )
    return kept, [
        {"role": each.planned.role, "seed": each.planned.recipe.seed, "status": each.status, "reason": each.reason}
        for each in failed
    ]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Class probabilities of each network on the test images, float32 [n, classes], by role and seed."""

    probabilities: Mapping[tuple[str, int], NDArray[np.float32]]
    recipes: Mapping[str, Recipe]
    test: Split

    @property
    def roles(self) -> list[str]:
        return list(dict.fromkeys(role for role, _ in self.probabilities))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(seed for _, seed in self.probabilities))

    def first(self, role: str) -> NDArray[np.float32]:
        """Of the first seed."""
        return self.probabilities[role, self.seeds[0]]

    def of_role(self, role: str) -> NDArray[np.float32]:
        """Of each seed, float32 [seeds, n, classes]."""
        return np.stack([self.probabilities[role, seed] for seed in self.seeds])

    def correct(self, role: str) -> NDArray[np.bool_]:
        """Which images each seed's network classifies correctly, bool [seeds, n]."""
        return np.stack([self.probabilities[role, seed].argmax(1) == self.test.labels for seed in self.seeds])


def _evaluate(context: RunContext[Any], finished: Sequence[FinishedTraining], folder: Folder) -> Evaluated:
    """Opens the test set for each network that has not met it yet; what it predicted is kept in probabilities/."""
    kept = folder.path / "probabilities"
    kept.mkdir(exist_ok=True)
    files = {
        each.number: kept / f"{each.number}-{each.planned.role}-{each.planned.recipe.seed}.npy" for each in finished
    }
    new = [each for each in finished if not files[each.number].exists()]
    for each in new:
        _write_opening(context, each)
    openings = [Opening.of(context.run_dir, each.planned.role, each.planned.recipe) for each in finished]
    test = test_set.open_test_set(context.dataset, openings)
    if new:
        setup = context.worker_setup(folder, on_all_training_images=True)
        networks = [(each.number, each.planned.recipe) for each in new]
        for each, predicted in zip(new, predictions.predict(setup, networks, test.images, context.slots), strict=True):
            with atomic_write(files[each.number]) as file:
                np.save(file, predicted, allow_pickle=False)
    return Evaluated(
        {(each.planned.role, each.planned.recipe.seed): _read_array(files[each.number]) for each in finished},
        {each.planned.role: each.planned.recipe for each in reversed(finished)},
        test,
    )


def _write_opening(context: RunContext[Any], finished: FinishedTraining) -> None:
    """Adds the evaluation to study.json, before it happens. One that was cut off earlier is the same evaluation."""
    role, recipe = finished.planned.role, finished.planned.recipe
    openings = context.study.content["test_openings"]
    if not any(each["role"] == role and each.get("recipe") == recipe.as_dict() for each in openings):
        opening = {"time": now(), "role": role, "seed": recipe.seed, "recipe": recipe.as_dict()}
        context.study.update(test_openings=[*openings, opening])


def _read_array(path: Path) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            array: NDArray[np.float32] = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError:
        raise StudyFailed(
            f"{path} is damaged, and the network that it came from was not kept", resumable=False
        ) from None
    return array


def _metrics(context: RunContext[Any], evaluated: Evaluated) -> dict[str, Any]:
    """The content of metrics.json."""
    dataset = context.dataset
    first = next(iter(evaluated.recipes.values()))
    content: dict[str, Any] = {
        **{
            role: _side(evaluated, role)
            | _unused(context, evaluated.recipes[role])
            | _costs(context, evaluated.recipes[role])
            for role in evaluated.roles
        },
        "final_epochs": first.epochs,
        "dataset": dataset.name,
        "classes": list(dataset.class_names),
        "published_accuracy": None,
        **published_for(dataset.name, evaluated.recipes.get(UNDER_TEST, BASELINE_RECIPE), first.epochs),
    }
    doubtful = _doubtful(evaluated)
    content["candidate_label_errors"] = doubtful.tolist()
    if BASELINE in evaluated.roles:
        meaningful = getattr(context.config, "meaningful", None)
        said = significance.verdict(
            _comparison(
                context,
                evaluated,
                (WINNER, BASELINE),
                evaluations=test_set.count_runs(dataset),
                without={"candidate label errors": doubtful, **_leaked(context)},
                **({} if meaningful is None else {"meaningful": meaningful / 100}),
            )
        )
        content |= said.as_metrics()
        content["sentence"] += SYNTHETIC if dataset.name == "synthetic" else ""
    if TUNED_BASELINE in evaluated.roles:
        steps = {"tuning": (TUNED_BASELINE, BASELINE), "recipe": (WINNER, TUNED_BASELINE)}
        content["attribution"] = significance.claims(
            {name: _comparison(context, evaluated, roles) for name, roles in steps.items()}
        )
    return content


def _side(evaluated: Evaluated, role: str) -> dict[str, Any]:
    """One role in metrics.json."""
    correct = evaluated.correct(role)
    accuracies = correct.mean(1)
    labels, probabilities = evaluated.test.labels, evaluated.first(role)
    return {
        "recipe": evaluated.recipes[role].as_dict(),
        "accuracy": float(accuracies[0]),
        "interval": list(asdict(significance.wilson(int(correct[0].sum()), correct.shape[1])).values()),
        "mean": float(accuracies.mean()),
        "standard_deviation": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
        "n": correct.shape[1],
        "calibration": calibration.summary(labels, evaluated.of_role(role)),
        "metrics": {name: float(metric.function(labels, probabilities)) for name, metric in METRICS.items()},
        "seeds": [
            {"seed": seed, "accuracy": float(each)} for seed, each in zip(evaluated.seeds, accuracies, strict=True)
        ],
    }


def _unused(context: RunContext[Any], recipe: Recipe) -> dict[str, Any]:
    """The `unused` of a side; a trainer of the user's own may use any field."""
    return {} if context.config.trainer is not None else {"unused": recipe.unused_fields()}


def _costs(context: RunContext[Any], recipe: Recipe) -> dict[str, Any]:
    """The `costs` of a side, on this machine's CPU; nothing for a trainer of the user's own, whose network is unknown.

    A network that cannot be measured costs a warning: it is trained and evaluated, and that must not be lost.
    """
    if context.config.trainer is not None:
        return {}
    spec = context.dataset.spec
    sample = context.dataset.training.images[:2].transpose(0, 3, 1, 2)
    try:
        with torch.random.fork_rng():
            # The values of the weights do not change what a network costs.
            untrained = recipe.with_fields({"pretrained": False})
            network = models.build(untrained, spec, torch.from_numpy(sample / np.float32(255)))
        return {"costs": measure_costs(network, spec).as_dict()}
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        context.output.say(f"warning: what the network {recipe.model} costs could not be measured ({cause})")
        return {}


def _doubtful(evaluated: Evaluated) -> NDArray[np.int64]:
    """Test images whose label the networks contradict; none where the best network is too weak to say."""
    best = max(evaluated.correct(role).mean(1).max() for role in evaluated.roles)
    if best < ACCURATE_ENOUGH:
        return np.empty(0, np.int64)
    return label_errors(evaluated.test.labels, np.stack(list(evaluated.probabilities.values())))


def _leaked(context: RunContext[Any]) -> dict[str, NDArray[np.int64]]:
    """The test images that are also in training; nothing where they cannot be searched for, which costs a warning."""
    try:
        leaked = check_images.find(context).test.leaked
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        context.output.say(f"warning: test images that are also in training could not be searched for ({cause})")
        return {}
    return {"test images that are also in training": np.array(leaked, np.int64)}


def _comparison(context: RunContext[Any], evaluated: Evaluated, roles: tuple[str, str], **more: Any) -> Comparison:
    """Two roles as a verdict takes them, with what earlier runs say of each one's deviation between seeds."""
    better, than = roles
    priors = {
        role: pooled(published(), context.dataset.name, evaluated.recipes[role].model) for role in dict.fromkeys(roles)
    }
    return Comparison(evaluated.correct(better), evaluated.correct(than), priors[better], priors[than], **more)


def _predictions(first: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64]) -> pd.DataFrame:
    """One row per test image: image, label, then each role's class and its probability (first seed)."""
    table = pd.DataFrame({"image": np.arange(len(labels)), "label": labels})
    for role, given in first.items():
        table[role] = given.argmax(1)
    for role, given in first.items():
        table[f"{role}_confidence"] = given.max(1)
    return table


def _write_pictures(numbers: Iterable[int], images: NDArray[np.uint8], folder: Path) -> None:
    """Some test images as PNGs, named by their index, in place of those that were there."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for number in numbers:
        pixels = images[number]
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(folder / f"{number}.png")


def _keep_weights(finished: Sequence[FinishedTraining], folder: Folder) -> None:
    """Keeps the first training's network as model.pt and deletes the others, which can be trained again."""
    for index, each in enumerate(finished):
        name = weights_of(each.number)
        if index == 0 and (weights := folder.store.read(name)) is not None:
            with atomic_write(folder.path / "model.pt") as file:
                file.write(weights)
        folder.store.delete(name)
