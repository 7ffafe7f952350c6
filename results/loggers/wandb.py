"""Weights & Biases: a run per trial in one group, as offline files in RUN/logs/wandb unless WANDB_MODE says otherwise.

wandb sync RUN/logs/wandb/offline-run-*
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import wandb

from results.events import EpochFinished, TrialEnded, TrialStarted
from results.loggers.tracker import measured, settings

_SETTINGS = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True)


class WeightsAndBiases:
    """A run's id follows from the study and the trial, so that logging again continues it and doubles nothing."""

    def __init__(self, run_dir: Path, study: Mapping[str, Any]) -> None:
        self._logs = run_dir / "logs"
        self._logs.mkdir(exist_ok=True)
        self._mode = os.environ.get("WANDB_MODE", "offline")
        self._name = str(study["name"])
        self._key = hashlib.sha256(f"{study['name']} {study['created']}".encode()).hexdigest()[:12]
        self._trials: dict[int, Any] = {}
        self._study = self._run("study", settings(study))

    def start_trial(self, event: TrialStarted) -> None:
        if event.number not in self._trials:
            name = event.trial_id or f"trial_{event.number:05d}"
            self._trials[event.number] = self._run(name, {**event.config, "seed": event.seed})

    def log_epoch(self, event: EpochFinished) -> None:
        self._trials[event.number].log(measured(event), step=event.epoch)

    def end_trial(self, event: TrialEnded) -> None:
        run = self._trials.pop(event.number)
        run.summary.update({"status": event.status, "stop_reason": event.reason or ""})
        run.finish(exit_code=0 if event.status in ("completed", "stopped") else 1)

    def finish(self, summary: Mapping[str, Any], numbers: Mapping[str, float], files: Iterable[Path]) -> None:
        self._study.summary.update({**summary, **numbers})
        artifact = wandb.Artifact(f"study-{self._key}", type="study")
        for path in files:
            artifact.add_file(str(path), name=path.name)
        self._study.log_artifact(artifact)

    def close(self) -> None:
        for run in (*self._trials.values(), self._study):
            run.finish()

    def _run(self, name: str, config: Mapping[str, Any]) -> Any:
        identity = f"{self._key}-{name}"
        # Offline files can only be appended to: written anew from the first event, they hold nothing twice.
        for earlier in (self._logs / "wandb").glob(f"offline-run-*-{identity}"):
            shutil.rmtree(earlier)
        return wandb.init(
            project=self._name,
            group=self._name,
            id=identity,
            name=name,
            job_type="study" if name == "study" else "trial",
            dir=self._logs,
            mode=self._mode,  # type: ignore[arg-type]
            config=dict(config),
            resume=None if self._mode == "offline" else "allow",
            reinit="create_new",
            settings=_SETTINGS,
        )
