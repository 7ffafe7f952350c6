"""How much of a gain is tuning alone: what `--tune-baseline` varies."""

import optuna

from search_spaces import components as components
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """lr and batch size of the published training, and nothing else."""
    # The published 0.001 in the middle of what a batch of 32 to 256 can use; 0.1 diverges at momentum 0.9.
    return {"lr": trial.suggest_float("lr", 3e-4, 0.1, log=True)} | components.batch_size(trial)
