"""What spaces are composed of. Each function draws some Recipe fields from an Optuna trial and returns them.

A hyperparameter is drawn only where it has an effect: momentum under SGD, gamma under the step schedule.
"""

from collections.abc import Sequence

import optuna

from search_spaces.space import Fields

# The logits of `fast` are scaled by 1/9 and its layers normalised, so it needs larger steps than the others.
FAST_LR = (0.05, 1.0)
FLIPS = ("none", "random", "alternating")


def sgd(trial: optuna.Trial, lr: tuple[float, float] = (1e-3, 0.1)) -> Fields:
    """Learning rate, momentum and L2 penalty of SGD.

    The published lr is the low end of `lr`. Above the high end, small networks without batch normalisation learn
    nothing.
    """
    return {
        "lr": trial.suggest_float("lr", *lr, log=True),
        # 0.9 is published. Each step up to 0.95 doubles the effective step; below 0.8 it only rescales lr.
        "momentum": trial.suggest_float("momentum", 0.8, 0.95),
        # 5e-4 is usual on CIFAR-10 (Zagoruyko & Komodakis 2016, arXiv:1605.07146); linear, as it must reach 0.
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 1e-3),
    }


def batch_size(trial: optuna.Trial) -> Fields:
    """32 is the baseline's; beyond 256, ten epochs are too few steps."""
    return {"batch_size": trial.suggest_categorical("batch_size", [32, 64, 128, 256])}


def optimizer(trial: optuna.Trial, sgd_lr: tuple[float, float] = (1e-3, 0.1)) -> Fields:
    """An optimizer and the hyperparameters that it has.

    The steps of the adaptive optimizers have the size of lr itself, so their lr is smaller: one decade to either side
    of 1e-3 (Kingma & Ba 2015, arXiv:1412.6980).
    """
    rule = trial.suggest_categorical("optimizer", ["sgd", "nesterov", "adam", "adamw", "rmsprop"])
    fields: Fields = {"optimizer": rule}
    if rule in ("sgd", "nesterov"):
        return fields | sgd(trial, sgd_lr)
    fields["lr"] = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    # Decoupled decay is multiplied by lr, so 1e-2 is usual (Loshchilov & Hutter 2019, arXiv:1711.05101).
    fields["weight_decay"] = trial.suggest_float("weight_decay", 0.0, 0.1 if rule == "adamw" else 1e-3)
    # Averages over about 10, 100 and 1,000 steps.
    fields["beta2"] = trial.suggest_categorical("beta2", [0.9, 0.99, 0.999])
    if rule == "rmsprop":
        fields["momentum"] = trial.suggest_float("momentum", 0.0, 0.9)
    else:
        fields["beta1"] = trial.suggest_float("beta1", 0.8, 0.95)
    return fields


def schedule(trial: optuna.Trial) -> Fields:
    """The shape of the learning rate over the training, its warm-up, and the drops of the step schedule."""
    shape = trial.suggest_categorical("schedule", ["constant", "step", "cosine", "one_cycle", "triangular"])
    fields: Fields = {"schedule": shape}
    if shape in ("one_cycle", "triangular"):
        # These have their peak within the training, usually at 0.3 and 0.23.
        fields["warmup"] = trial.suggest_float("warmup", 0.1, 0.4)
    else:
        # None, or up to what large learning rates need (Goyal et al. 2017, arXiv:1706.02677: 5 of 90 epochs).
        fields["warmup"] = trial.suggest_float("warmup", 0.0, 0.2)
    if shape == "step":
        # He et al. 2015 (arXiv:1512.03385) divide by 10, Zagoruyko & Komodakis by 5; 0.5 is a gentle drop.
        fields["gamma"] = trial.suggest_float("gamma", 0.1, 0.5)
    return fields


def warm_schedule(trial: optuna.Trial) -> Fields:
    """A schedule that rises to the peak and then decays to almost nothing, and the share of the training before it.

    Decay by cosine (Smith & Topin 2017, arXiv:1708.07120, as in torch's OneCycleLR) or linear (Jordan 2024,
    arXiv:2404.00498); the peak is usually at 0.3 and 0.23.
    """
    return {
        "schedule": trial.suggest_categorical("schedule", ["one_cycle", "triangular"]),
        "warmup": trial.suggest_float("warmup", 0.05, 0.35),
    }


def convolution(trial: optuna.Trial) -> Fields:
    """Kernel and padding of two blocks. 5 x 5 with padding costs three times as much as either, so it is left out."""
    kernel = trial.suggest_categorical("kernel", [3, 5])
    padding = trial.suggest_categorical("padding", ["valid", "same"]) if kernel == 3 else "valid"
    return {"kernel": kernel, "padding": padding}


def batch_norm(trial: optuna.Trial) -> Fields:
    """Batch normalisation or none (Ioffe & Szegedy 2015, arXiv:1502.03167)."""
    return {"batch_norm": trial.suggest_categorical("batch_norm", [False, True])}


def fully_connected(trial: optuna.Trial) -> Fields:
    """What follows the convolutions: the baseline's hidden layer or one twice as wide, and dropout around it."""
    return {"hidden": trial.suggest_categorical("hidden", ["128", "256"]), "dropout": dropout(trial)}


def dropout(trial: optuna.Trial) -> float:
    """Up to the 0.5 of Srivastava et al. 2014; linear, as no dropout is often best in a few epochs."""
    return trial.suggest_float("dropout", 0.0, 0.5)


def label_smoothing(trial: optuna.Trial) -> Fields:
    """Around 0.1 (Szegedy et al. 2016, arXiv:1512.00567); the CIFAR-10 speed records use 0.2."""
    return {"label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2)}


def light_augmentation(trial: optuna.Trial, flip: Sequence[str] = FLIPS) -> Fields:
    """What nearly every CIFAR-10 record does: mirror the images and shift them.

    Args:
        flip: the choices of `flip`. Where mirrored images mean something else, as digits do, give `("none",)`; a data
            set that says so fixes `flip` at "none" in every space.
    """
    return {"flip": trial.suggest_categorical("flip", list(flip)), **translate(trial)}


def translate(trial: optuna.Trial) -> Fields:
    """A shift by up to 4 pixels (He et al. 2015, arXiv:1512.03385); 2 in airbench (Jordan 2024, arXiv:2404.00498)."""
    return {"translate": trial.suggest_int("translate", 0, 4)}


def heavy_augmentation(trial: optuna.Trial) -> Fields:
    """What helps in long trainings of large networks. 0 is off everywhere."""
    return {
        # 16 is best on CIFAR-10 (DeVries & Taylor 2017, arXiv:1708.04552).
        "cutout": trial.suggest_int("cutout", 0, 16, step=4),
        # 0.4 is torchvision's and SimCLR's usual strength of colour jitter.
        "jitter": trial.suggest_categorical("jitter", [0.0, 0.1, 0.2, 0.4]),
        # 0.2 for ImageNet, 1 for CIFAR-10 (Zhang et al. 2018, arXiv:1710.09412).
        "mixup": trial.suggest_categorical("mixup", [0.0, 0.2, 1.0]),
        # 1 throughout (Yun et al. 2019, arXiv:1905.04899).
        "cutmix": trial.suggest_categorical("cutmix", [0.0, 1.0]),
    }


def network(trial: optuna.Trial) -> Fields:
    """A network family and the hyperparameters that it has."""
    model = trial.suggest_categorical("model", ["cnn", "fast", "resnet18", "vgg11_bn", "vgg16_bn"])
    fields: Fields = {"model": model}
    match model:
        case "cnn":
            widths = ["8-16", "16-32", "32-64", "16-32-64", "32-64-128", "16-32-64-128", "32-64-128-256"]
            fields["channels"] = trial.suggest_categorical("channels", widths)
            fields |= batch_norm(trial)
            # Without padding, four blocks leave no pixels.
            deep = fields["channels"].count("-") > 1
            fields |= {"kernel": 3, "padding": "same"} if deep else convolution(trial)
            fields |= fully_connected(trial)
        case "fast":
            # One width here: Optuna allows a name one list of choices, and the cnn has it. The space `fast` varies it.
            fields["channels"] = "24-32-64-64"
            fields["whitening"] = trial.suggest_categorical("whitening", [True, False])
        case "resnet18":
            fields["pretrained"] = trial.suggest_categorical("pretrained", [False, True])
        case "vgg11_bn" | "vgg16_bn":
            fields["pretrained"] = trial.suggest_categorical("pretrained", [False, True])
            fields["dropout"] = dropout(trial)
        case _:
            raise ValueError(f"model {model!r} has no hyperparameters here")
    return fields
