"""The Python API: the same settings, defaults and words as the command line, and nothing of the caller's changed."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

import results
import study
from study.errors import UsageError

SMALL = {
    "samples": 3,
    "max_epochs": 2,
    "final_epochs": 1,
    "gpus_per_trial": 0,
    "max_concurrent": 1,
    "quiet": True,
    "dataset": "synthetic",
}


def space(trial: Any) -> dict[str, Any]:
    return {"lr": trial.suggest_float("lr", 1e-3, 0.2, log=True), "hidden": "32", "channels": "4-8"}


@pytest.fixture(scope="module")
def settings(synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {**SMALL, "data_dir": synthetic_dir, "runs_dir": tmp_path_factory.mktemp("api")}


@pytest.fixture(scope="module")
def run(local_ray: None, settings: dict[str, Any]) -> results.Run:
    return study.tune(space, name="one", **settings)


def test_tune_returns_the_run_with_its_tables_verdict_and_best_recipe(run: results.Run) -> None:
    assert len(run.trials) == 3
    assert run.verdict is not None
    assert run.best_recipe is not None
    assert run.best_recipe["channels"] == "4-8"


def test_tune_resumes_and_extends_a_run(run: results.Run, settings: dict[str, Any]) -> None:
    longer = study.tune(space, resume=run.path, samples=4, quiet=True)
    assert len(longer.trials) == 4
    assert longer.path == run.path


def test_replay_of_a_trial_is_the_same_to_the_last_bit(run: results.Run, settings: dict[str, Any]) -> None:
    replayed = study.replay(run, trial=0, data_dir=settings["data_dir"])
    assert replayed.same
    assert set(replayed.epochs["training_iteration"]) == {1} | set(range(1, int(run.trials["epochs"][0]) + 1))


def test_reproduce_takes_a_recipe_itself(local_ray: None, settings: dict[str, Any]) -> None:
    own = {name: value for name, value in settings.items() if name not in ("samples", "max_epochs", "final_epochs")}
    recipe = study.Recipe(channels="4-8", hidden="32", lr=0.05)
    again = study.reproduce(recipe, seeds=2, epochs=1, name="recipe", **own)
    assert again.final is not None
    assert again.final["recipe_under_test"]["recipe"]["lr"] == 0.05
    assert len(again.final["recipe_under_test"]["seeds"]) == 2


def test_train_yields_epochs_in_this_process(synthetic_dir: Path) -> None:
    recipe = study.Recipe(channels="4-8", hidden="32", epochs=2)
    epochs = list(study.train(recipe, "synthetic", data_dir=synthetic_dir))
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert 0 <= (epochs[0].metrics["val_accuracy"] or 0.0) <= 1


def test_an_unknown_setting_is_named_as_a_keyword(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="there is no setting sample; known: "):
        study.tune(space, sample=3)


def test_a_value_that_is_not_allowed_is_named_as_a_keyword() -> None:
    with pytest.raises(study.StudyError, match=r"max_epochs is '0'; allowed: greater than or equal to 1"):
        study.tune(space, max_epochs=0)


def test_an_error_of_a_package_below_is_a_study_error_with_the_same_words(settings: dict[str, Any]) -> None:
    def broken(trial: Any) -> dict[str, Any]:
        raise KeyError("sgd")

    with pytest.raises(study.StudyError, match="sgd"):
        study.tune(broken, name="broken", **settings)
    with pytest.raises(study.StudyError, match="nowhere"):
        study.resume(settings["runs_dir"] / "nowhere")


def test_a_call_leaves_the_callers_process_as_it_was(local_ray: None, settings: dict[str, Any]) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = (dict(os.environ), optuna.logging.get_verbosity(), torch.get_num_threads(), torch.get_rng_state().tolist())
    study.tune(space, name="clean", **settings)
    after = (dict(os.environ), optuna.logging.get_verbosity(), torch.get_num_threads(), torch.get_rng_state().tolist())
    assert after == before
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_tune_runs_outside_the_main_thread(local_ray: None, settings: dict[str, Any]) -> None:
    found: list[results.Run] = []
    thread = threading.Thread(target=lambda: found.append(study.tune(space, name="thread", **settings)))
    thread.start()
    thread.join()
    assert len(found[0].trials) == 3


SCRIPT = """
import study

def space(trial):
    return {{"lr": trial.suggest_float("lr", 1e-3, 0.2, log=True), "hidden": "32", "channels": "4-8"}}

for name in ("a", "b"):
    run = study.tune(space, name=name, samples=2, max_epochs=1, final_epochs=1, quiet=True, dataset="synthetic",
                     data_dir={data!r}, runs_dir={runs!r})
    print(len(run.trials))
"""


def test_a_script_without_a_main_guard_may_call_tune_twice(synthetic_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT.format(data=str(synthetic_dir), runs=str(tmp_path / "runs")))
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1::2] == ["2", "2"] or done.stdout.split().count("2") == 2


def test_import_study_is_light() -> None:
    code = "import sys, study; sys.exit(bool({'torch', 'ray', 'optuna', 'pandas', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists() -> None:
    assert [name for name in study.__all__ if getattr(study, name, None) is None] == []


def test_a_target_that_no_accuracy_reaches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"stop_at is 90; allowed: at most 1, which is 100\.00% accuracy"):
        study.tune(stop_at=90, runs_dir=tmp_path)


def test_replay_can_be_called_after_its_command_was_imported(tmp_path: Path) -> None:
    import study.replay

    with pytest.raises(study.StudyError, match="nowhere"):
        study.replay(tmp_path / "nowhere", trial=0)
