"""Which network: the published one made deeper, or another family."""

import optuna

from search_spaces import pieces
from search_spaces.space import Fields


def space(trial: optuna.Trial) -> Fields:
    """The CNN with 2 to 4 blocks, ResNet-18, VGG-11 and VGG-16, and the fast network; SGD for each."""
    fields = pieces.network(trial)
    lr = {"lr": pieces.FAST_LR} if fields["model"] == "fast" else {}
    return fields | pieces.sgd(trial, **lr) | pieces.batch_size(trial)
