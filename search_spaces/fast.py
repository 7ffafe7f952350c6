"""The small fast network's own hyperparameters, around what the CIFAR-10 speed records do (Jordan 2024,
arXiv:2404.00498)."""

import optuna

from search_spaces import components as components
from search_spaces.priors import LogNormalPrior, NormalPrior, with_priors
from search_spaces.space import Fields

_AIRBENCH = "Jordan 2024, arXiv:2404.00498 (airbench94)"


@with_priors(
    # Converted, as the named recipe `fast` has them: to a mean loss, a plain L2 penalty and a quarter of the batch.
    lr=LogNormalPrior(centre=0.4, factor=2, source=f"11.5 per 1,024 images, decoupled: {_AIRBENCH}"),
    weight_decay=LogNormalPrior(centre=1.3e-3, factor=2, source=f"0.0153 per 1,024 images: {_AIRBENCH}"),
    batch_size=LogNormalPrior(centre=512, factor=2, source=f"1,024: {_AIRBENCH}; fewer for a CPU's few epochs"),
    label_smoothing=NormalPrior(centre=0.2, spread=0.05, source=f"0.2: {_AIRBENCH}"),
    warmup=NormalPrior(centre=0.23, spread=0.08, source=f"0.23: {_AIRBENCH}"),
    translate=NormalPrior(centre=2, spread=1, source=f"2: {_AIRBENCH}"),
)
def space(trial: optuna.Trial) -> Fields:
    """Widths, whitening, label smoothing, schedule peak, learning rate, weight decay, batch size and translate."""
    return {
        "model": "fast",
        "optimizer": "nesterov",
        "momentum": 0.85,
        "schedule": "triangular",
        "normalization": "cifar10",
        "flip": "alternating",
        # The first layer, then the three blocks: up to airbench94's own.
        "channels": trial.suggest_categorical(
            "channels", ["24-32-64-64", "24-48-96-96", "16-64-128-128", "24-64-128-128", "24-64-256-256"]
        ),
        "whitening": trial.suggest_categorical("whitening", [True, False]),
        "lr": trial.suggest_float("lr", *components.FAST_LR, log=True),
        # airbench94's 0.0153 per 1,024 images, as the plain L2 penalty of this optimizer, is 1.3e-3 at its batch size.
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [128, 256, 512, 1024]),
        # Where the schedule has its peak.
        "warmup": trial.suggest_float("warmup", 0.1, 0.4),
        "translate": trial.suggest_int("translate", 0, 4),
        **components.label_smoothing(trial),
    }
