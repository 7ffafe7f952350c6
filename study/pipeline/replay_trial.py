"""Trains one trial of a run again and compares each epoch with the event log."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import results
from results import Run
from results.events import EpochFinished
from results.formatting import count
from results.run_directory import read_events
from study.config import StudyConfig
from study.errors import UsageError
from study.pipeline.prepare_run import dataset_of_run
from study.pipeline.resume_settings import recorded_settings
from study.pipeline.trusted_code import Permission, verified, verified_network
from study.recipe import Recipe
from study.storage.provenance import git, machine
from study.training.loop import Diverged
from study.training.trainer import Trainer, build_trainer


@dataclass(frozen=True)
class Replay:
    """What came out.

    Attributes:
        same: whether every number of every epoch is equal.
        epochs: one row an epoch and metric. RangeIndex; columns `training_iteration`, `metric`, `recorded`, `replayed`.
        why: what may explain a difference, in a sentence; empty where all is the same.
    """

    same: bool
    epochs: pd.DataFrame
    why: str


def replay(run_dir: Path, trial: int, data_dir: Path, say: Callable[[str], None]) -> Replay:
    """Trains the trial `trial` again, until an epoch differs from the event log or all of them were compared.

    Args:
        say: takes one line an epoch.

    Raises:
        UsageError: the run has no such trial with a finished epoch, or the images are not those of the run.
        UserCodeError: the trial needs code that this user has not recorded.
    """
    run = results.load_run(run_dir)
    of_trial = run.epochs[run.epochs["number"] == trial].set_index("training_iteration")
    if of_trial.empty:
        known = ", ".join(map(str, run.trials.index[run.trials["epochs"] > 0])) or "none"
        raise UsageError(f"trial is {trial}; allowed, with a finished epoch in {run.path}: {known}")
    asked = recorded_settings(StudyConfig, run.study).model_copy(update={"data_dir": data_dir})
    config, notices = verified(asked, run.path, {}, {"dataset": "dataset", "trainer": "trainer"})
    for notice in notices:
        say(notice)
    recipe = Recipe.from_dict(run.recipe(trial))
    # The event log may be somebody else's, and name any file as the network.
    model, _, _ = verified_network(run.path, recipe.model, None, Permission())
    recipe = recipe.with_fields({"model": model})
    dataset = dataset_of_run(run, config, say)
    threads = torch.get_num_threads()
    torch.set_num_threads(run.study.get("threads", 1))
    was_on = _trained_on(run, trial, config)
    device = "cuda" if was_on.startswith("cuda") and torch.cuda.is_available() else "cpu"
    say(f"Trial {trial} of {run.path}: {count(len(of_trial), 'epoch')} on {device}, "
        f"{count(torch.get_num_threads(), 'thread')}, torch {torch.__version__}.")  # fmt: skip
    if not was_on.startswith(device):
        say(f"It was trained on {was_on}, which is not here; the numbers will not be the same.")
    rows: list[dict[str, Any]] = []
    try:
        trainer = build_trainer(config.trainer, recipe, *dataset.split(), spec=dataset.spec, device=device)
        rows.extend(_compared(trainer, of_trial, say))
    except Diverged as diverged:
        say(f"The training diverged: {diverged}.")
    finally:
        torch.set_num_threads(threads)
    table = pd.DataFrame(rows, columns=["training_iteration", "metric", "recorded", "replayed"])
    last = int(table["training_iteration"].max()) if len(table) else 0
    same = last == of_trial.index.max() and bool((table["recorded"] == table["replayed"]).all())
    why = "" if same else _why(run, was_on)
    say(f"The same to the last bit, {count(last, 'epoch')}." if same else f"Not the same, from epoch {last} on. {why}")
    return Replay(same, table, why)


def _compared(trainer: Trainer, of_trial: pd.DataFrame, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Each metric of each epoch beside the recorded one, up to the first epoch with a difference."""
    metrics = [name for name in of_trial.columns if name == "train_loss" or name.startswith("val_")]
    for epoch in trainer:
        recorded = of_trial.loc[epoch.number]
        rows = [
            {
                "training_iteration": epoch.number,
                "metric": name,
                "recorded": recorded[name],
                "replayed": epoch.metrics[name],
            }
            for name in metrics
            if name in epoch.metrics and pd.notna(recorded[name])
        ]
        different = [row for row in rows if row["recorded"] != row["replayed"]]
        say(_line(epoch, different))
        yield from rows
        if different or epoch.number == of_trial.index.max():
            return


def _line(epoch: Any, different: list[dict[str, Any]]) -> str:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in epoch.metrics.items() if value is not None)
    if not different:
        return f"epoch {epoch.number}: {shown}"
    first = different[0]
    return (
        f"epoch {epoch.number}: {shown}; {first['metric']} is {first['replayed']!r}, the event log has "
        f"{first['recorded']!r}"
    )


def _trained_on(run: Run, trial: int, config: StudyConfig) -> str:
    """The device of a trial's newest epoch, such as "cpu" or "cuda (Tesla T4, bfloat16)"."""
    epochs = [event for event in read_events(run) if isinstance(event, EpochFinished) and event.number == trial]
    if epochs[-1].device is not None:
        return epochs[-1].device
    # Version 0.1 did not record it, and used GPUs where there were any.
    return "cuda" if run.study["hardware"]["gpus"] and config.gpus_per_trial != 0 else "cpu"


def _why(run: Run, was_on: str) -> str:
    """What a curve depends on besides the recipe, where it differs from the time of the run."""
    was, now = run.study["hardware"], machine()
    reasons = [
        f"{name} was {run.study['versions'].get(name, 'unknown')}, here it is {version(name)}"
        for name in ("torch", "numpy")
        if run.study["versions"].get(name) != version(name)
    ]
    if was["cpu"] != now["cpu"]:
        reasons.append(f"the processor was {was['cpu']}, here it is {now['cpu']}")
    revisions = [(found or {}).get("revision", "unknown") for found in (run.study["git"], git())]
    if revisions[0] != revisions[1]:
        reasons.append(f"the code was at {revisions[0][:8]}, here it is at {revisions[1][:8]}")
    if was_on.startswith("cuda"):
        reasons.append(f"it was trained on {was_on}; on a GPU the order of sums is not fixed")
    return f"What differs: {'; '.join(reasons)}." if reasons else "Nothing that is recorded differs."
