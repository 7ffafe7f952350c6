"""Which update rule, and which learning-rate schedule."""

import optuna

from search_spaces import components as components
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """SGD, Nesterov, Adam, AdamW and RMSprop with their own knobs; five schedules with warm-up; batch size."""
    return components.optimizer(trial) | components.schedule(trial) | components.batch_size(trial)
