"""The published network with wide ranges around its training: the default space before version 0.2.

Its ranges stay as they are, because recorded tables (benchmarks/curves.csv) depend on its draws. `cnn` is its revision.
"""

import optuna

from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """SGD, widths, padding, dropout, label smoothing, schedule and light augmentation, in wide ranges."""
    return {
        "model": "cnn",
        # From about the published 0.001 to where a network of this size diverges; it matters most (Bengio 2012,
        # arXiv:1206.5533).
        "lr": trial.suggest_float("lr", 5e-4, 0.3, log=True),
        # 0.9 is published; beyond 0.98 a run of ten epochs is too short for it.
        "momentum": trial.suggest_float("momentum", 0.8, 0.98),
        # 5e-4 is usual on CIFAR-10 (Zagoruyko & Komodakis 2016, arXiv:1605.07146); linear, as it must reach 0.
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 1e-3),
        # 32 is the baseline's; beyond 256, ten epochs are too few steps.
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128, 256]),
        # From the baseline's to what one CPU core trains in half a minute an epoch.
        "channels": trial.suggest_categorical("channels", ["8-16", "16-32", "24-48", "32-64"]),
        "padding": trial.suggest_categorical("padding", ["valid", "same"]),
        "hidden": trial.suggest_categorical("hidden", ["128", "256"]),
        # The 0.5 of Srivastava et al. 2014 is too much for layers this narrow.
        "dropout": trial.suggest_float("dropout", 0.0, 0.4),
        # 0.1 is the value of Szegedy et al. 2016 (arXiv:1512.00567), 0.2 that of the CIFAR-10 speed records.
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        # The published one, and the two that let lr fall to nothing by the end of the run.
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine", "one_cycle"]),
        "flip": trial.suggest_categorical("flip", ["none", "random"]),
        # 4 pixels are usual for networks hundreds of times larger (He et al. 2015, arXiv:1512.03385).
        "translate": trial.suggest_int("translate", 0, 4),
        # 16 is the best side for large networks (DeVries & Taylor 2017, arXiv:1708.04552); half of that is enough here.
        "cutout": trial.suggest_int("cutout", 0, 8, step=4),
    }
