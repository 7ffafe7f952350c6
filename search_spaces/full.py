"""Everything, conditionally: a hyperparameter is drawn only where it has an effect."""

import optuna

from search_spaces import components as components
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """Network, optimizer, schedule, regularisation and augmentation together."""
    fields = components.network(trial)
    lr = {"sgd_lr": components.FAST_LR} if fields["model"] == "fast" else {}
    return {
        **fields,
        **components.optimizer(trial, **lr),
        **components.schedule(trial),
        **components.batch_size(trial),
        **components.label_smoothing(trial),
        **components.light_augmentation(trial),
        **components.heavy_augmentation(trial),
    }
