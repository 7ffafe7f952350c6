"""Which network and batch size did the publication train? A study over what it leaves open.

    python -m benchmarks.identify_baseline --trials 40

The objective is the distance to the two published training losses (1.073 at epoch 10, 0.528 at epoch 30), in units of
0.05, the larger of the two. The published test accuracy takes no part, so the test set stays closed here; the closest
candidates are trained again by `python -m study.baseline --recipe`, which opens it. A trial whose loss at epoch 10 is
further than 0.15 from the published one is stopped there. Every epoch of every trial goes to
benchmarks/baseline_candidates.csv; several processes may work on one storage.
"""

import argparse
from pathlib import Path

import optuna
import pandas as pd
import torch

from study import data
from study.data import DataOptions, Split
from study.recipe import BASELINE, Recipe
from study.training.loop import Diverged, Training

PUBLISHED = {10: 1.073, 30: 0.528}
UNIT = 0.05
STOP_BEYOND = 0.15

# What was measured before this study began (issue 3's table), and the neighbours it points to.
FIRST = [
    {"channels": "6-16", "convolution": "3 valid", "hidden": "120-84", "batch_size": 32},
    {"channels": "8-16", "convolution": "3 valid", "hidden": "120-84", "batch_size": 32},
    {"channels": "6-16", "convolution": "3 valid", "hidden": "128", "batch_size": 32},
    {"channels": "6-16", "convolution": "5 valid", "hidden": "120-84", "batch_size": 20},
    {"channels": "6-16", "convolution": "5 valid", "hidden": "120-84", "batch_size": 16},
    {"channels": "8-16", "convolution": "3 valid", "hidden": "128", "batch_size": 32},
    {"channels": "16-32", "convolution": "3 valid", "hidden": "128", "batch_size": 64},
]


def open_fields(trial: optuna.Trial) -> Recipe:
    """The published training with one value for each field that the publication leaves open."""
    kernel, padding = trial.suggest_categorical("convolution", ["3 valid", "3 same", "5 valid", "5 same"]).split()
    return BASELINE.with_fields(
        {
            "channels": trial.suggest_categorical("channels", ["6-12", "6-16", "8-16", "16-32", "32-64"]),
            "kernel": int(kernel),
            "padding": padding,
            "hidden": trial.suggest_categorical(
                "hidden", ["64", "84", "100", "120", "128", "256", "512", "120-84", "128-64", "256-128"]
            ),
            "batch_size": trial.suggest_categorical("batch_size", [4, 8, 10, 16, 20, 25, 32, 40, 50, 64, 100, 128]),
        }
    )


def distance(losses: dict[int, float]) -> float:
    """The larger of the two distances from the published losses, in units of 0.05; the one known if stopped."""
    return max(abs(losses[epoch] - published) / UNIT for epoch, published in PUBLISHED.items() if epoch in losses)


def objective(trial: optuna.Trial, train: Split) -> float:
    recipe = open_fields(trial)
    for earlier in trial.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        if earlier.params == trial.params:
            raise optuna.TrialPruned("tried before")
    losses: dict[int, float] = {}
    try:
        for epoch in Training(recipe, train):
            losses[epoch.number] = epoch.metrics["train_loss"]
            trial.set_user_attr("losses", {str(number): loss for number, loss in losses.items()})
            if epoch.number == 10 and abs(epoch.metrics["train_loss"] - PUBLISHED[10]) > STOP_BEYOND:
                break
    except Diverged:
        return 100.0
    return distance(losses)


def table(study: optuna.Study) -> pd.DataFrame:
    """One row per trial x epoch: number, the open fields, epoch, train_loss, distance."""
    return pd.DataFrame(
        [
            {"number": trial.number, **trial.params, "epoch": int(epoch), "train_loss": loss, "distance": trial.value}
            for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
            for epoch, loss in trial.user_attrs["losses"].items()
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Which network and batch size did the publication train?")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--storage", default="sqlite:///baseline.db", help="Optuna storage, shared by processes")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/baseline_candidates.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train = data.load("cifar10", DataOptions(arguments.data_dir)).training
    study = optuna.create_study(
        storage=arguments.storage,
        study_name="baseline",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=arguments.seed, constant_liar=True, n_startup_trials=12),
    )
    if not study.trials:
        for params in FIRST:
            study.enqueue_trial(params)
    study.optimize(lambda trial: objective(trial, train), n_trials=arguments.trials)
    table(study).to_csv(arguments.output, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
