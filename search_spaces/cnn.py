"""The default space: the published family, two or more convolutions and fully connected layers, trained as practice
recommends.

What is fixed here is what practice agrees on. What is left varies with the size of the network and the length of the
training. `hidden`, `padding`, `flip` and `cutout` made no measurable difference among the 59 complete curves of
`cnn-wide` in benchmarks/curves.csv, so that the first three are fixed and the last one is left out; the lowest learning
rates of that space and its `constant` schedule were never among the best.
"""

import optuna

from search_spaces import components as components
from search_spaces.priors import LogNormalPrior, NormalPrior, with_priors
from search_spaces.space import Fields


@with_priors(
    # With batch normalisation, so VGG's 0.01 does not apply.
    lr=LogNormalPrior(centre=0.1, factor=2.5, source="0.1: Zagoruyko & Komodakis 2016, arXiv:1605.07146"),
    weight_decay=LogNormalPrior(centre=5e-4, factor=2, source="5e-4: Zagoruyko & Komodakis 2016, arXiv:1605.07146"),
    dropout=NormalPrior(
        centre=0.1,
        spread=0.1,
        source="little or none beside batch normalisation: Ioffe & Szegedy 2015, arXiv:1502.03167; 0.3 in wide ResNets",
    ),
)
def space(trial: optuna.Trial) -> Fields:
    """Nesterov's lr and weight decay, batch size, widths, dropout, label smoothing, warm-up and translate.

    With batch normalisation, padding, normalised and mirrored images.
    """
    return {
        "model": "cnn",
        "kernel": 3,
        # Padding keeps the edges of the image, and deeper networks possible (VGG: Simonyan & Zisserman 2015).
        "padding": "same",
        # Ioffe & Szegedy 2015 (arXiv:1502.03167): larger steps, fewer epochs.
        "batch_norm": True,
        "hidden": "256",
        # As wide ResNets and airbench do. Momentum acts with lr, as lr / (1 - momentum), so lr alone varies.
        "optimizer": "nesterov",
        "momentum": 0.9,
        "normalization": "dataset",
        # At most 30 epochs are too few for a random flip to even out (Jordan 2024, arXiv:2404.00498, section 3.6).
        "flip": "alternating",
        # A factor of five to either side of 0.1 (wide ResNets, with batch normalisation).
        "lr": trial.suggest_float("lr", 0.02, 0.5, log=True),
        # A factor of five to either side of 5e-4.
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 2.5e-3, log=True),
        # 128 is usual. Smaller ones are slow, and ten epochs of larger ones are too few steps.
        "batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
        # Widths double from block to block (VGG). The largest costs one CPU core half a minute an epoch.
        "channels": trial.suggest_categorical("channels", ["16-32", "24-48", "16-32-64", "24-48-96", "32-64-128"]),
        # 0.3 at most in a wide ResNet; these networks are narrower.
        "dropout": trial.suggest_float("dropout", 0.0, 0.4),
        **components.label_smoothing(trial),
        **components.warm_schedule(trial),
        **components.translate(trial),
    }
