"""Everything, conditionally: a knob exists only where it means something."""

import optuna

from search_spaces import pieces
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """Network, optimizer, schedule, regularisation and augmentation together."""
    fields = pieces.network(trial)
    lr = {"sgd_lr": pieces.FAST_LR} if fields["model"] == "fast" else {}
    return {
        **fields,
        **pieces.optimizer(trial, **lr),
        **pieces.schedule(trial),
        **pieces.batch_size(trial),
        **pieces.label_smoothing(trial),
        **pieces.light_augmentation(trial),
        **pieces.heavy_augmentation(trial),
    }
