"""A run as an Optuna study, so that everything that Optuna draws and computes works on it."""

import json
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import json_to_distribution
from optuna.trial import TrialState

if TYPE_CHECKING:
    from results.tables import Run

_STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


def to_optuna(run: "Run") -> optuna.Study:
    """See Run.to_optuna."""
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), study_name=run.name, direction="maximize")
    study.set_metric_names(["val_accuracy"])
    knobs = {field: json_to_distribution(json.dumps(knob)) for field, knob in run.knobs.items()}
    accuracies = dict(list(run.epochs.groupby("number")[["training_iteration", "val_accuracy"]]))
    study.add_trials([_frozen(run, number, knobs, accuracies.get(number)) for number in run.trials.index])
    return study
