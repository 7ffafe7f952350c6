"""MLflow: an experiment per study, in RUN/logs/mlflow.db unless MLFLOW_TRACKING_URI names a server.

mlflow ui --backend-store-uri sqlite:///RUN/logs/mlflow.db
"""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from results.events import EpochFinished, TrialEnded, TrialStarted
from results.loggers.tracker import measured, settings

_STATUS = {"completed": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
_LONGEST = 5000  # characters of a parameter or tag


class MLflow:
    """One MLflow run per trial, nested in the study's. A run that is there already is completed, not doubled."""

    def __init__(self, run_dir: Path, study: Mapping[str, Any]) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it says that it makes its tables
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for each trial that ends
        logs = run_dir / "logs"
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            logs.mkdir(exist_ok=True)
            uri = f"sqlite:///{logs.resolve() / 'mlflow.db'}"
        artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (logs.resolve() / "mlflow-artifacts").as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        # Of two studies with one name the moment of their begin tells them apart.
        name = f"{study['name']} {study['created']}"
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = (
            self._client.create_experiment(name, artifact_location=artifacts)
            if experiment is None
            else experiment.experiment_id
        )
        self._runs: dict[str, str] = {}
        self._logged: dict[int, set[int]] = {}
        self._study = self._run("study", {}, None)
        self._params(self._study, settings(study))

    def start_trial(self, event: TrialStarted) -> None:
        name = event.trial_id or f"trial_{event.number:05d}"
        run = self._run(name, {"mlflow.parentRunId": self._study, "trial": str(event.number)}, event.time)
        self._runs[str(event.number)] = run
        self._params(run, {**event.config, "seed": event.seed})
        self._logged[event.number] = {each.step for each in self._client.get_metric_history(run, "seconds")}

    def log_epoch(self, event: EpochFinished) -> None:
        if event.epoch in self._logged[event.number]:
            return
        self._logged[event.number].add(event.epoch)
        time = round(1000 * event.time)
        metrics = [Metric(name, value, time, event.epoch) for name, value in measured(event).items()]
        self._client.log_batch(self._runs[str(event.number)], metrics=metrics)

    def end_trial(self, event: TrialEnded) -> None:
        run = self._runs[str(event.number)]
        self._tags(run, {"status": event.status, "stop_reason": event.reason or ""})
        self._client.set_terminated(run, _STATUS[event.status], round(1000 * event.time))

    def finish(self, summary: Mapping[str, Any], numbers: Mapping[str, float], files: Iterable[Path]) -> None:
        self._tags(self._study, summary)
        for name, value in numbers.items():
            if not self._client.get_metric_history(self._study, name):
                self._client.log_metric(self._study, name, value)
        for path in files:
            self._client.log_artifact(self._study, str(path))
        ended = {"finished": "FINISHED", "running": "RUNNING"}.get(str(summary["status"]), "KILLED")
        self._client.set_terminated(self._study, ended)

    def close(self) -> None:
        """Nothing is held back: each call is a transaction."""

    def _run(self, name: str, tags: Mapping[str, str], start: float | None) -> str:
        quoted = name.replace("'", "")
        found = self._client.search_runs([self._experiment], f"attributes.run_name = '{quoted}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        begun = None if start is None else round(1000 * start)
        run = self._client.create_run(self._experiment, begun, dict(tags), run_name=quoted)
        return str(run.info.run_id)

    def _params(self, run: str, params: Mapping[str, Any]) -> None:
        """MLflow's parameters never change. A setting that a later session changed becomes a tag of its name."""
        text = {name: str(value)[:_LONGEST] for name, value in params.items()}
        known = self._client.get_run(run).data.params
        self._client.log_batch(run, params=[Param(name, value) for name, value in text.items() if name not in known])
        self._tags(run, {name: value for name, value in text.items() if known.get(name, value) != value})

    def _tags(self, run: str, tags: Mapping[str, Any]) -> None:
        self._client.log_batch(run, tags=[RunTag(name, str(value)[:_LONGEST]) for name, value in tags.items()])
