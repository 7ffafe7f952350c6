"""What is done to the images, each on or off with its strength."""

import optuna

from search_spaces import components as components
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """Flip, translate, cutout, colour jitter, mixup and CutMix."""
    return components.light_augmentation(trial) | components.heavy_augmentation(trial)
