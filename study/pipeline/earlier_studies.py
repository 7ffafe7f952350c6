"""Reads the earlier studies of `--warm-start`: runs, Optuna databases, and CSV files of trials."""

import math
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

import results
import search_spaces
from results.optuna_storage import opened
from study.config import StudyConfig
from study.errors import RecipeError, UsageError
from study.pipeline.find_run import find_run
from study.recipe import FIELDS, parse
from study.search.problem import SearchProblem, hyperparameters_as_json
from study.search.sampler_choice import quiet_optuna
from study.search.warm_start import EarlierStudy, EarlierTrial, in_one_unit

SQLITE = "sqlite:///"
DATABASES = (".db", ".sqlite", ".sqlite3")
STATUS_OF = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
# How our own tables, Optuna's trials_dataframe and other tools call the ends of trials.
STATUSES = {
    "completed": "completed", "complete": "completed", "stopped": "stopped", "pruned": "stopped",
    "diverged": "diverged", "failed": "failed", "fail": "failed",
}  # fmt: skip


def read_earlier(given: Any, config: StudyConfig, problem: SearchProblem) -> EarlierStudy:
    """The earlier study that `--warm-start` names: a run, an Optuna database (FILE.db, sqlite:///FILE, either with
    #STUDY), or a CSV file.

    Raises:
        UsageError: there is none, or its values cannot be those of the metric of this study.
    """
    text = str(given)
    file = Path(text.removeprefix(SQLITE).partition("#")[0])
    if text.startswith(SQLITE) or file.suffix in DATABASES:
        earlier = _from_optuna(text, file, problem)
    elif file.suffix == ".csv":
        earlier = _from_csv(file, problem)
    else:
        return _from_run(results.load_run(find_run(given, config.runs_dir)), config, problem)
    if not in_one_unit((trial.value for trial in earlier.trials), problem):
        wanted = f"{problem.metric.name} as a fraction"
        raise UsageError(f"--warm-start {text}: its values go beyond 0 to 1; allowed: {wanted}")
    return earlier


def _from_run(run: results.Run, config: StudyConfig, problem: SearchProblem) -> EarlierStudy:
    trials = []
    column = f"val_{run.metric.name}"
    for number in map(int, run.trials.index[(run.trials["epochs"] > 0) & run.trials["ended"].notna()]):
        values = run.epochs[run.epochs["number"] == number].sort_values("training_iteration")[column].tolist()
        fields = {**run.recipe(number), **run.params(number)}
        trials.append(EarlierTrial(fields, run.trials["status"][number], values, values[-1] if values else None))
    asked = run.study["arguments"].get("dataset", "cifar10")
    same_measure = (
        run.metric.name == config.metric
        and run.study["max_epochs"] == config.max_epochs
        and asked == config.as_json()["dataset"]
    )
    return EarlierStudy(str(run.path), trials, same_measure, run.hyperparameters == hyperparameters_as_json(problem))


def _from_optuna(text: str, file: Path, problem: SearchProblem) -> EarlierStudy:
    if not file.is_file():
        raise UsageError(f"--warm-start {text}: there is no file {file}")
    with tempfile.TemporaryDirectory() as folder, quiet_optuna():
        copied = Path(folder) / "copy.db"
        try:
            # Optuna would add its tables to any SQLite file, and could upgrade this one.
            with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
                if not database.execute("select name from sqlite_master where name = 'studies'").fetchone():
                    raise UsageError(f"--warm-start {text}: {file} is no database of Optuna")
                with closing(sqlite3.connect(copied)) as copy:
                    database.backup(copy)
            with opened(f"{SQLITE}{copied}") as storage:
                study = _chosen(text, storage)
                trials = study.get_trials(deepcopy=False)
                directions, name = study.directions, study.study_name
        except (sqlite3.Error, RuntimeError, KeyError) as error:
            raise UsageError(f"--warm-start {text} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if len(directions) > 1:
        raise UsageError(f"--warm-start {text}: study {name} has several objectives; allowed: one")
    wanted = StudyDirection.MAXIMIZE if problem.metric.mode == "max" else StudyDirection.MINIMIZE
    if directions[0] != wanted:
        theirs, ours = directions[0].name.lower(), wanted.name.lower()
        raise UsageError(f"--warm-start {text}: its study has direction {theirs}, {problem.metric.name} has {ours}")
    ended = [_of_optuna(trial) for trial in trials if trial.state in STATUS_OF]
    return EarlierStudy(text, ended, same_measure=True)


def _chosen(text: str, storage: optuna.storages.RDBStorage) -> optuna.Study:
    names = [summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)]
    asked = text.partition("#")[2]
    if asked in names or (not asked and len(names) == 1):
        return optuna.load_study(study_name=asked or names[0], storage=storage)
    known = ", ".join(names) or "none"
    raise UsageError(f"--warm-start {text}: give one study as {text.partition('#')[0]}#NAME; there are: {known}")


def _of_optuna(trial: FrozenTrial) -> EarlierTrial:
    steps = sorted(trial.intermediate_values)
    values = [trial.intermediate_values[step] for step in steps]
    epochs = list(range(1, len(steps) + 1))
    # Steps counted from 0 are epochs as well; any others are none that this study could compare with.
    values = values if steps in (epochs, [step - 1 for step in epochs]) and all(map(math.isfinite, values)) else []
    value = trial.value if trial.value is not None else (values[-1] if values else None)
    fits = trial.state == TrialState.COMPLETE or values
    return EarlierTrial(trial.params, STATUS_OF[trial.state] if fits else "failed", values, value)


def _from_csv(file: Path, problem: SearchProblem) -> EarlierStudy:
    try:
        table = pd.read_csv(file, dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--warm-start {file} cannot be read: {str(error).splitlines()[0]}") from None
    varied = search_spaces.hyperparameters(problem.space, problem.fixed)
    fields = {column: name for column in table if (name := _field(str(column))) in FIELDS or name in varied}
    metric = problem.metric.name
    value = next((name for name in (f"val_{metric}", metric, "value") if name in table), None)
    status = next((name for name in ("status", "state") if name in table), None)
    if not set(fields.values()) & set(varied) or value is None:
        raise UsageError(
            f"--warm-start {file}: its columns are {', '.join(map(str, table.columns[:8]))}; needed: hyperparameters "
            f"such as {next(iter(varied))}, and val_{metric}, {metric} or value"
        )
    trials = []
    for row in table.to_dict("records"):
        known = {name: _typed(name, row[column], varied) for column, name in fields.items() if row[column] != ""}
        trials.append(_of_row(known, row[value], row.get(status) if status else None, file))
    return EarlierStudy(str(file), trials, same_measure=True)


def _of_row(fields: Mapping[str, Any], value: str, status: Any, file: Path) -> EarlierTrial:
    try:
        number = float(value) if value != "" else math.nan
    except ValueError:
        raise UsageError(f"--warm-start {file}: a value is {value!r}; allowed: a number, or nothing") from None
    ended = "completed" if status is None else STATUSES.get(str(status).lower().rpartition(".")[2], "failed")
    if not math.isfinite(number):
        return EarlierTrial(fields, "failed", [], None)
    return EarlierTrial(fields, ended, [], number)


def _field(column: str) -> str:
    for prefix in ("config/", "params/", "params_"):
        column = column.removeprefix(prefix)
    return column


def _typed(name: str, text: str, varied: Mapping[str, BaseDistribution]) -> Any:
    """The value that a cell means: a choice or number of the space, or a value of the Recipe's field."""
    whole = text[:-2] if text.endswith(".0") else text  # pandas writes integers beside empty cells so
    distribution = varied.get(name)
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            if str(choice) in (text, whole):
                return choice
    try:
        if name in FIELDS:
            return parse(name, whole if FIELDS[name].type is int else text)
        return int(whole) if isinstance(distribution, IntDistribution) else float(text)
    except (RecipeError, ValueError):
        return text
