"""A run as an Optuna study, so that everything that Optuna draws and computes works on it."""

import json
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

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
    """A study in memory, direction maximize, value `val_accuracy` at the last epoch (a fraction).

    completed = COMPLETE; stopped = PRUNED with its epochs as intermediate values; diverged and failed = FAIL; running =
    RUNNING. A drawn value that lies outside its knob's range, as the baseline's may, is left out of its trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), study_name=run.name, direction="maximize")
    study.add_trials([_frozen(run, int(number)) for number in run.trials.index])
    return study


def _frozen(run: "Run", number: int) -> FrozenTrial:
    epochs = run.epochs[run.epochs["number"] == number]
    knobs = {name: json_to_distribution(json.dumps(knob)) for name, knob in run.knobs.items()}
    inside = {
        name: value for name, value in run.config(number).items() if name in knobs and _contains(knobs[name], value)
    }
    state = _STATES[run.trials["status"].loc[number]]
    return create_trial(
        state=state,
        value=run.trials["val_accuracy"].loc[number] if state == TrialState.COMPLETE else None,
        params=inside,
        distributions={name: knobs[name] for name in inside},
        intermediate_values=dict(zip(epochs["training_iteration"], epochs["val_accuracy"], strict=True)),
    )


def _contains(distribution: optuna.distributions.BaseDistribution, value: object) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution.low <= value <= distribution.high)  # type: ignore[attr-defined]
