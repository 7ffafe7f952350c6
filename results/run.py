"""A run: everything that one study did, as pandas tables and the JSON files beside them.

`results.load_run` makes one from a run directory.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.formatting import count
from results.metric import MetricInfo
from results.tables import measured_columns

if TYPE_CHECKING:
    import optuna


class RunError(ValueError):
    """A directory that is no run, or a run that cannot be read. The message is one line for the user."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Run:
    """Everything that one study did.

    Attributes:
        path: the run directory.
        study: study.json, as docs/run-directory.md describes it.
        status: as study.json has it, but "interrupted" where it says "running" and no process works on the run.
        metric: what selects trials; accuracy where study.json names none.
        trials: one row per trial. Index `number` (int64, the order of suggestion). Columns `trial_id`, `status`
            (completed, stopped, diverged, failed; paused at a rung, running, or interrupted with the study),
            `stop_reason` (str), `config/<field>` (the type of the field, missing where it was not drawn),
            `params/<name>` (what Optuna drew, only where a trial's config differs from it), `seed`, `epochs`,
            `parameters`, `multiply_adds` (of one image) and `file_bytes` of the network (Int64, only where they were
            recorded), `training_iteration` (int64), `train_loss`, `val_loss` (nats), `val_accuracy` (fraction), a
            `val_<name>` for every other metric that was measured (all of these at the last epoch), `best_val_<metric>`
            (of the selecting metric), `best_epoch` (Int64, from 1), `time_total_s` (seconds), `started`, `ended`
            (seconds since 1970).
        epochs: one row per trial and epoch, by number and epoch. RangeIndex. Columns `number`, `trial_id`,
            `training_iteration` (from 1), `train_loss`, `val_loss` (nats), `val_accuracy` (fraction), `val_<name>` of
            other metrics, `seconds`, `time_total_s` (seconds), `time` (seconds since 1970).
        best: best.json, the recipe that was chosen, or None before there is one.
        final: final/metrics.json, or None before the final trainings have been evaluated.
        final_epochs: one row per final training and epoch. RangeIndex. Columns as in `epochs`, with `role` (winner,
            baseline) and `seed` in place of `number` and `trial_id`; there is no validation split, so `val_loss` and
            `val_accuracy` are NaN.
        predictions: final/predictions.csv, one row per test image, or None. RangeIndex. Columns `image`, `label`,
            `winner`, `baseline` (classes from 0), `winner_confidence`, `baseline_confidence` (probability of the
            class predicted).
        finalist_epochs, audit_epochs: one row per training and epoch of finalists/ and audit/. RangeIndex. Columns as
            in `final_epochs`, with `trial`, the search's trial that it trains again, and with validation. Those of
            finalists also have `fold` (str, such as "2/5"; missing on the study's own split).
        data: data.json, what was found out about the images before anything was trained, or None.
        control, tuned_baseline: the run in control/ or tuned-baseline/, or None.
        replicates: the runs in replicates/, by number: the same study from other seeds and splits.
        dropped: what was damaged and left out, one line each.
    """

    path: Path
    study: Mapping[str, Any]
    status: str
    metric: MetricInfo
    trials: pd.DataFrame
    epochs: pd.DataFrame
    best: Mapping[str, Any] | None
    final: Mapping[str, Any] | None
    final_epochs: pd.DataFrame
    predictions: pd.DataFrame | None
    finalist_epochs: pd.DataFrame
    audit_epochs: pd.DataFrame
    data: Mapping[str, Any] | None
    control: "Run | None"
    tuned_baseline: "Run | None"
    replicates: "tuple[Run, ...]" = ()
    dropped: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"<Run {self.path}: {count(len(self.trials), 'trial')}, {count(len(self.epochs), 'epoch')}, {self.status}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows for a run: the ranking, the verdict and the findings."""
        from results.show import as_html

        return as_html(self)

    @property
    def name(self) -> str:
        return str(self.study["name"])

    @property
    def base(self) -> dict[str, Any]:
        """Every Recipe field: what a trial has where its config names nothing."""
        return dict(self.study["base"])

    @property
    def baseline(self) -> dict[str, Any]:
        """Every field of the Recipe that the winner is compared with; `base`, unless the study began elsewhere."""
        return dict(self.study.get("baseline", self.study["base"]))

    @property
    def hyperparameters(self) -> dict[str, dict[str, Any]]:
        """What the space draws: name -> Optuna's JSON of its distribution, as an object (`knobs` in study.json)."""
        return dict(self.study["knobs"])

    @property
    def verdict(self) -> str | None:
        """The winner against the baseline on the test set, one word or two such as "better"; None before that."""
        return None if self.final is None else self.final.get("verdict")

    @property
    def best_recipe(self) -> dict[str, Any] | None:
        """Every field of the Recipe that was chosen, JSON-ready; None before there is one."""
        return None if self.best is None else dict(self.best["recipe"])

    @property
    def resume_command(self) -> str:
        """The command that continues the study where it was left."""
        module = "study.baseline" if self.study["kind"] == "baseline" else "study.run"
        return shlex.join(["python", "-m", module, "--resume", str(self.path)])

    @property
    def synthetic(self) -> bool:
        """Whether the images are made up, so that no number says anything about real ones."""
        return bool(self.study["dataset"] == "synthetic")

    def drawn(self, hyperparameter: str) -> "pd.Series[Any]":
        """What each trial drew for `hyperparameter`; missing where a trial did not draw it.

        Raises:
            KeyError: no trial has drawn it.
        """
        for column in (f"params/{hyperparameter}", f"config/{hyperparameter}"):
            if column in self.trials:
                return self.trials[column]
        raise KeyError(f"no trial has drawn {hyperparameter!r}")

    def config(self, number: int) -> dict[str, Any]:
        """The Recipe fields that the space set for the trial `number`, JSON-ready.

        Raises:
            KeyError: the run has no such trial.
        """
        return self._cells(number, "config/")

    def params(self, number: int) -> dict[str, Any]:
        """What Optuna drew for the trial `number`, JSON-ready: its config, unless the space derives fields.

        Raises:
            KeyError: the run has no such trial.
        """
        return self._cells(number, "params/") or self.config(number)

    def _cells(self, number: int, prefix: str) -> dict[str, Any]:
        if number not in self.trials.index:
            raise KeyError(number)
        # cell by cell: a row of integers and floats would make all of them floats
        names = [name for name in self.trials.columns if str(name).startswith(prefix)]
        cells: dict[Any, Any] = {name: self.trials.at[number, name] for name in names}
        drawn = {name: value for name, value in cells.items() if not pd.isna(value)}
        # numpy's scalars are not JSON; item() is Python's own number
        return {
            str(name).removeprefix(prefix): value.item() if hasattr(value, "item") else value
            for name, value in drawn.items()
        }

    def recipe(self, number: int) -> dict[str, Any]:
        """Every Recipe field of the trial `number`, JSON-ready.

        Raises:
            KeyError: the run has no such trial.
        """
        seed = int(self.trials["seed"][number])
        return {**self.base, **self.config(number), "epochs": self.study["max_epochs"], "seed": seed}

    def at_epoch(self, epoch: int) -> "Run":
        """The search as it stood when each trial had trained for `epoch` epochs, so that trials can be compared.

        A trial that came so far is a completed one, measured after that epoch, whatever became of it; one that did not
        stays as it is. Schedules span max_epochs, so this is not what trainings of `epoch` epochs would have given.

        Raises:
            ValueError: `epoch` is not in 1 to max_epochs.
        """
        if not 1 <= epoch <= self.study["max_epochs"]:
            raise ValueError(f"epoch is {epoch}; allowed: 1 to {self.study['max_epochs']}")
        epochs = self.epochs[self.epochs["training_iteration"] <= epoch]
        measured = self.trials.assign(**measured_columns(epochs, self.trials.index, self.metric))
        there = measured["epochs"] == epoch
        trials = measured.assign(
            status=measured["status"].mask(there, "completed"), stop_reason=measured["stop_reason"].mask(there)
        )
        rungs = [rung for rung in self.study["rungs"] if rung < epoch] + [epoch]
        return replace(self, study={**self.study, "max_epochs": epoch, "rungs": rungs}, trials=trials, epochs=epochs)

    def to_optuna(self) -> "optuna.Study":
        """The trials as a real Optuna study in memory, for optuna.visualization and optuna.importance.

        Its name is the run's, its direction and values are those of the selecting metric. completed = COMPLETE;
        stopped = PRUNED, with its value at the last epoch and its epochs as intermediate values; diverged and failed =
        FAIL; running = RUNNING. Each trial keeps its times. A drawn value outside its hyperparameter's range, as the
        baseline's may be, is left out of its trial.
        """
        from results.to_optuna import optuna_study

        return optuna_study(self.name, self.metric, self.hyperparameters, self.trials, self.epochs)
