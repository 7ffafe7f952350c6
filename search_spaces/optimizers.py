"""Which update rule, and which learning-rate schedule."""

import optuna

from search_spaces import pieces
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """SGD, Nesterov, Adam, AdamW and RMSprop with their own knobs; five schedules with warm-up; batch size."""
    return pieces.optimizer(trial) | pieces.schedule(trial) | pieces.batch_size(trial)
