"""The published family at its best: two convolutions, pooling, fully connected layers, and all that trains them."""

from typing import Any

from search_spaces.pieces import light_augmentation, momentum_sgd, schedule


def cnn(trial: Any) -> dict[str, Any]:
    return {
        **momentum_sgd(trial),
        # From the baseline's to what two CPU cores still train for 30 epochs within some ten minutes.
        "channels": trial.suggest_categorical("channels", ["8-16", "16-32", "24-48", "32-64"]),
        "padding": trial.suggest_categorical("padding", ["valid", "same"]),
        "hidden": trial.suggest_categorical("hidden", ["128", "256"]),
        # Up to the half of Srivastava et al. 2014, which is too much for layers this narrow; so a little less.
        "dropout": trial.suggest_float("dropout", 0.0, 0.4),
        # 0.1 is the value of Szegedy et al. 2016 (arXiv:1512.00567), 0.2 that of the CIFAR-10 speed records.
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        **schedule(trial),
        **light_augmentation(trial),
    }
