"""The smallest honest study: how the published network is trained, not what it is."""

import optuna

from search_spaces import components as components
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """lr, momentum, weight decay and batch size."""
    return components.sgd(trial) | components.batch_size(trial)
