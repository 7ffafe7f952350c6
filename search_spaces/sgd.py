"""The smallest honest study: how the published network is trained, not what it is."""

import optuna

from search_spaces import pieces
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """lr, momentum, weight decay and batch size."""
    return pieces.sgd(trial) | pieces.batch_size(trial)
