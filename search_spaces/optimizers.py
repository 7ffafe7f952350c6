"""Which optimizer, and which learning-rate schedule."""

import optuna

from search_spaces import components as components
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """SGD, Nesterov, Adam, AdamW, RMSprop, each with its hyperparameters; five schedules with warm-up; batch size."""
    return components.optimizer(trial) | components.schedule(trial) | components.batch_size(trial)
