"""Which network: the published one made deeper, or another family."""

import optuna

from search_spaces import components as components
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """The CNN with 2 to 4 blocks, ResNet-18, VGG-11 and VGG-16, and the fast network; SGD for each."""
    fields = components.network(trial)
    lr = {"lr": components.FAST_LR} if fields["model"] == "fast" else {}
    return fields | components.sgd(trial, **lr) | components.batch_size(trial)
