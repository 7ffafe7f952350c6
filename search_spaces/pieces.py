"""The pieces that spaces are composed of: each draws a few related Recipe fields.

The published recipe lies inside every range, so that Optuna learns from it as trial 0.
"""

from typing import Any


def momentum_sgd(trial: Any, *, lr_high: float = 0.3) -> dict[str, Any]:
    """Learning rate, momentum, weight decay and batch size of stochastic gradient descent."""
    return {
        # From the published 0.001 to where a net of this size diverges; Bengio 2012 (arXiv:1206.5533) has it matter most.
        "lr": trial.suggest_float("lr", 5e-4, lr_high, log=True),
        # 0.9 is published; up to 0.98 (Goh 2017, "Why momentum really works"), a lower one acts as a lower lr.
        "momentum": trial.suggest_float("momentum", 0.8, 0.98),
        # Zero is published; 5e-4 is the usual value on CIFAR-10 since Zagoruyko & Komodakis 2016 (arXiv:1605.07146).
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 1e-3),
        # 32 is the baseline's. Beyond 256 a net this small takes too few steps in ten epochs.
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128, 256]),
    }


def schedule(trial: Any) -> dict[str, Any]:
    """The learning rate's shape over the run: published constant, cosine (arXiv:1608.03983), one-cycle (1708.07120)."""
    return {"schedule": trial.suggest_categorical("schedule", ["constant", "cosine", "one_cycle"])}


def light_augmentation(trial: Any) -> dict[str, Any]:
    """What moves or hides pixels: none is published. A small net gains from little and loses from much."""
    return {
        "flip": trial.suggest_categorical("flip", ["none", "random"]),
        # 4 pixels is the usual CIFAR-10 crop (He et al. 2016, arXiv:1512.03385), for nets hundreds of times larger.
        "translate": trial.suggest_int("translate", 0, 4),
        # 16 is the best side for large nets (DeVries & Taylor 2017, arXiv:1708.04552); half of that is plenty here.
        "cutout": trial.suggest_int("cutout", 0, 8, step=4),
    }
