"""Numbers that somebody published for a data set; shown beside ours, and used for nothing else."""

from typing import Any

from study.recipe import BASELINE, Recipe

# The publication that BASELINE reproduces: test accuracy after 30 epochs, and mean training loss by epoch.
PUBLISHED: dict[str, dict[str, Any]] = {
    "cifar10": {"published_accuracy": 0.6465, "published_train_loss": {"10": 1.073, "30": 0.528}},
}
PUBLISHED_EPOCHS = BASELINE.epochs


def published_for(dataset: str, recipe: Recipe, epochs: int) -> dict[str, Any]:
    """The published numbers that can be compared: those of the same data, recipe and number of epochs; else none."""
    same = recipe.with_fields({"seed": BASELINE.seed, "epochs": BASELINE.epochs}) == BASELINE
    return PUBLISHED.get(dataset, {}) if same and epochs == PUBLISHED_EPOCHS else {}
