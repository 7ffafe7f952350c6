"""The published family at its best: two convolutions and fully connected layers, trained well."""

import optuna

from search_spaces import pieces
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """SGD, widths, padding, batch normalisation, dropout, label smoothing, schedule and light augmentation."""
    return {
        # From the baseline's widths to what one CPU core trains in half a minute an epoch.
        "channels": trial.suggest_categorical("channels", ["8-16", "16-32", "24-48", "32-64"]),
        "padding": trial.suggest_categorical("padding", ["valid", "same"]),
        # The published one, and the two that let lr fall to nothing by the end of the run.
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine", "one_cycle"]),
        **pieces.batch_norm(trial),
        **pieces.fully_connected(trial),
        **pieces.sgd(trial),
        **pieces.batch_size(trial),
        **pieces.label_smoothing(trial),
        **pieces.light_augmentation(trial),
    }
