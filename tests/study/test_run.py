"""The whole study, as a user runs it, on the stand-in; once on a real CIFAR-10."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from stored_study import stored_trials

import results
from study import baseline, run
from study.data import Dataset, Split, test_set
from study.data.test_set import Opening
from study.execution import trainable

SPACE = """
def small(trial):
    return {
        "lr": trial.suggest_float("lr", 1e-3, 0.2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        "hidden": "32",
        "channels": "4-8",
    }

def diverging(trial):
    return {"lr": trial.suggest_float("lr", 50.0, 100.0), "momentum": 0.999, "batch_size": 4, "channels": "4-8"}
"""


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("spaces") / "mine.py"
    file.write_text(SPACE)
    return file


def study(synthetic_dir: Path, runs: Path, name: str, *more: str) -> int:
    common = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(runs), "--name", name]
    short = ["--samples", "5", "--max-epochs", "3", "--final-epochs", "2", "--gpus-per-trial", "0"]
    # One at once: every worker process imports torch, which takes longer than these trainings.
    return run.main([*common, *short, "--max-concurrent", "1", *more])


@pytest.fixture(scope="module")
def finished(
    local_ray: None, synthetic_dir: Path, spaces: Path, tmp_path_factory: pytest.TempPathFactory
) -> results.Run:
    runs = tmp_path_factory.mktemp("runs")
    assert study(synthetic_dir, runs, "one", "--space", f"{spaces}:small") == 0
    return results.load_run(runs / "one")


def test_a_study_leaves_the_files_that_its_format_names(finished: results.Run) -> None:
    names = ["study.json", "epochs.jsonl", "optuna.db", "best.json"]
    names += [f"{table}.{kind}" for table in ("trials", "epochs") for kind in ("csv", "parquet")]
    names += [f"final/{name}" for name in ("epochs.jsonl", "model.pt", "metrics.json", "predictions.csv")]
    assert [name for name in names if not (finished.path / name).exists()] == []
    assert finished.dropped == ()
    assert finished.study["status"] == "finished"
    assert {"data", "start_up", "search", "final"} <= set(finished.study["seconds"])


def test_no_checkpoint_outlives_its_trial(finished: results.Run) -> None:
    assert list((finished.path / "checkpoints").iterdir()) == []


def test_there_are_as_many_trials_as_samples_and_the_first_is_the_baseline(finished: results.Run) -> None:
    assert finished.trials.index.tolist() == list(range(5))
    assert set(finished.trials["status"]) <= {"completed", "stopped"}
    first = finished.recipe(0)
    assert {name for name, value in first.items() if value != finished.base[name]} == {"epochs", "seed"}


def test_the_tables_read_back_from_csv_and_parquet_are_the_runs(finished: results.Run) -> None:
    parquet = pd.read_parquet(finished.path / "trials.parquet")
    pd.testing.assert_frame_equal(parquet, finished.trials)
    assert (
        pd.read_csv(finished.path / "epochs.csv")["val_accuracy"].tolist() == finished.epochs["val_accuracy"].tolist()
    )


def test_the_stored_optuna_study_says_what_the_trials_table_says(finished: results.Run) -> None:
    stored = stored_trials(finished.path / "optuna.db")
    states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert [trial.state for trial in stored] == [states[status] for status in finished.trials["status"]]
    for trial in stored:
        row = finished.trials.loc[trial.number]
        assert len(trial.intermediate_values) == row["epochs"]
        assert trial.params["lr"] == row["config/lr"]


def test_the_winner_is_the_best_validation_accuracy_ties_to_the_earlier_trial(finished: results.Run) -> None:
    best = json.loads((finished.path / "best.json").read_text())
    highest = finished.trials["val_accuracy"].max()
    assert best["trial"] == finished.trials.index[finished.trials["val_accuracy"] == highest][0]
    assert best["recipe"] == finished.recipe(best["trial"])


def test_the_test_set_is_opened_once_for_each_recipe_and_seed_and_each_opening_is_recorded(
    finished: results.Run,
) -> None:
    openings = finished.study["test_openings"]
    assert [opening["role"] for opening in openings] == ["winner", "baseline"]
    assert all(opening["recipe"]["epochs"] == 2 for opening in openings)


def test_the_metrics_follow_from_the_predictions(finished: results.Run) -> None:
    table, final = finished.predictions, finished.final
    assert table is not None
    assert final is not None
    for role in ("winner", "baseline"):
        assert final[role]["accuracy"] == pytest.approx((table[role] == table["label"]).mean())
    assert final["difference"] == pytest.approx(final["winner"]["accuracy"] - final["baseline"]["accuracy"])
    assert final["verdict"] in ("better", "worse", "no evidence")


def without_times(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.drop(columns=["time_total_s", "started", "ended"])


def metrics_without_times(run: results.Run) -> dict[str, Any]:
    assert run.final is not None
    budget = [{name: spent for name, spent in part.items() if name != "seconds"} for part in run.final["budget"]]
    # The second run is the second evaluation on these test images, and says so.
    counted = {"evaluations", "notes", "sentences"}
    curve = [{**row, "seconds": None} for row in run.final["budget_curve"]["search"]]
    kept = {key: value for key, value in run.final.items() if key not in counted}
    for role in ("winner", "baseline"):  # what a network costs includes measured latencies
        kept[role] = {name: value for name, value in kept[role].items() if name != "costs"}
    return {**kept, "budget": budget, "budget_curve": {"search": curve}}


def test_the_same_seed_gives_the_same_trials_table_times_aside(
    finished: results.Run, synthetic_dir: Path, spaces: Path
) -> None:
    runs = finished.path.parent
    assert study(synthetic_dir, runs, "again", "--space", f"{spaces}:small") == 0
    again = results.load_run(runs / "again")
    pd.testing.assert_frame_equal(without_times(again.trials), without_times(finished.trials))
    assert metrics_without_times(again) == metrics_without_times(finished)


def test_a_diverged_trial_frees_its_slot_and_the_study_continues(
    local_ray: None, synthetic_dir: Path, spaces: Path, tmp_path: Path
) -> None:
    assert study(synthetic_dir, tmp_path, "diverging", "--space", f"{spaces}:diverging") == 0
    trials = results.load_run(tmp_path / "diverging").trials
    diverged = trials[trials["status"] == "diverged"]
    assert len(diverged) > 0
    assert diverged["stop_reason"].str.contains("epoch 1, step").all()
    stored = stored_trials(tmp_path / "diverging" / "optuna.db")
    assert all(stored[number].state == TrialState.FAIL for number in diverged.index)


def test_a_time_budget_ends_the_search_and_not_the_final(
    local_ray: None, synthetic_dir: Path, spaces: Path, tmp_path: Path
) -> None:
    budget = ["--samples", "500", "--time-budget", "30s"]
    assert study(synthetic_dir, tmp_path, "short", "--space", f"{spaces}:small", *budget) == 0
    short = results.load_run(tmp_path / "short")
    assert 0 < len(short.trials) < 500
    assert "running" not in set(short.trials["status"])
    assert short.final is not None


def test_four_trials_share_one_pretend_gpu(local_ray: None, synthetic_dir: Path, spaces: Path, tmp_path: Path) -> None:
    quarter = ["--space", f"{spaces}:small", "--gpus-per-trial", "0.25", "--samples", "4", "--max-concurrent", "4"]
    assert study(synthetic_dir, tmp_path, "packed", *quarter) == 0
    packed = results.load_run(tmp_path / "packed")
    assert packed.study["slots"] == 4
    begun, ended = packed.trials["started"], packed.trials["ended"]
    assert begun.max() < ended.min()  # all four were running before the first had ended


def test_json_goes_to_standard_output_alone(
    local_ray: None, synthetic_dir: Path, spaces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study(synthetic_dir, tmp_path, "json", "--space", f"{spaces}:small", "--samples", "1", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["final"]["dataset"] == "synthetic"
    assert "synthetic" in said["final"]["sentence"]
    assert said["best"]["trial"] == 0


def test_a_baseline_run_of_other_images_is_compared_with_nothing_published(
    local_ray: None, synthetic_dir: Path, tmp_path: Path
) -> None:
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(tmp_path)]
    command += ["--name", "base"]
    assert (
        baseline.main([*command, "--seeds", "2", "--epochs", "2", "--gpus-per-trial", "0", "--max-concurrent", "1"])
        == 0
    )
    base = results.load_run(tmp_path / "base")
    assert base.final is not None
    assert len(base.final["recipe_under_test"]["seeds"]) == 2
    assert results.against_publication(base) == []


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_study_cleanly_and_keeps_what_is_finished(
    synthetic_dir: Path, spaces: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "study.run", "--dataset", "synthetic", "--data-dir", str(synthetic_dir)]
    command += ["--runs-dir", str(tmp_path), "--name", "cut", "--space", f"{spaces}:small", "--samples", "500"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        record = tmp_path / "cut" / "epochs.jsonl"
        while process.poll() is None and not (record.exists() and '"end"' in record.read_text()):
            time.sleep(0.2)
        process.send_signal(number)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert number.name in words
    assert "Traceback" not in words
    cut = results.load_run(tmp_path / "cut")
    assert cut.study["status"] == "stopped"
    assert (cut.path / "trials.csv").exists()
    assert (cut.trials["status"] != "running").any()


BAD = {
    "samples": (["--samples", "0"], ["--samples is '0'"]),
    "not a number": (["--max-epochs", "ten"], ["--max-epochs", "'ten'"]),
    "negative": (["--gpus-per-trial", "-1"], ["--gpus-per-trial"]),
    "unknown flag": (["--epochs", "3"], ["--epochs"]),
    "unknown space": (["--space", "cnnn"], ["cnnn", "sgd"]),
    "grace period": (["--grace-period", "11"], ["--grace-period", "10"]),
    "fraction": (["--gpus-per-trial", "1.5"], ["--gpus-per-trial", "1.5"]),
    "too many CPUs": (["--cpus-per-trial", "4000"], ["--cpus-per-trial", "4000"]),
    "time": (["--time-budget", "soon"], ["--time-budget", "30m"]),
    "name": (["--name", "../elsewhere"], ["--name"]),
    "dataset": (["--dataset", "mnistt"], ["mnistt", "cifar10"]),
    "runs": (["--runs-dir", "/proc/nowhere"], ["/proc/nowhere"]),
}


@pytest.mark.parametrize(("flags", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_line_and_exit_code_2_before_any_training(
    flags: list[str], words: list[str], synthetic_dir: Path, tmp_path: Path, local_ray: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(tmp_path), *flags]
    with pytest.raises(SystemExit) as exit_:
        run.main(command)
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.count("\n") == 1
    assert all(word in said for word in words)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_exists_already_is_refused(
    finished: results.Run, synthetic_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished.path / "study.json").read_bytes()
    with pytest.raises(SystemExit) as exit_:
        study(synthetic_dir, finished.path.parent, "one")
    assert exit_.value.code == 2
    assert "exists already" in capsys.readouterr().err
    assert (finished.path / "study.json").read_bytes() == before


def test_the_real_thing_learns_from_real_images(local_ray: None, cifar10_dir: Path, tmp_path: Path) -> None:
    command = ["--samples", "2", "--max-epochs", "1", "--final-epochs", "1", "--space", "sgd", "--gpus-per-trial", "0"]
    command += ["--max-concurrent", "1"]
    assert run.main([*command, "--data-dir", str(cifar10_dir), "--runs-dir", str(tmp_path), "--name", "real"]) == 0
    real = results.load_run(tmp_path / "real")
    assert real.study["data"]["train"] == 45_000
    assert real.study["data"]["validation"] == 5_000
    assert real.final is not None
    assert real.final["winner"]["n"] == 10_000
    assert real.final["winner"]["accuracy"] > 0.2  # chance is 0.1


def test_an_altered_test_file_is_refused_before_any_training(
    local_ray: None, synthetic_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = tmp_path / "data"
    shutil.copytree(synthetic_dir, altered)
    file = altered / "synthetic-test.bin"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        study(altered, tmp_path / "runs", "altered")
    assert exit_.value.code == 2
    assert "synthetic-test.bin is truncated or altered" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []


def test_permuted_test_labels_change_the_verdict_and_not_the_choice(
    finished: results.Run, synthetic_dir: Path, spaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = test_set.open_test_set

    def permuted(dataset: Dataset, openings: Sequence[Opening]) -> Split:
        test = sealed(dataset, openings)
        return Split(test.images, np.random.default_rng(0).permutation(test.labels))

    monkeypatch.setattr(test_set, "open_test_set", permuted)
    assert study(synthetic_dir, tmp_path, "permuted", "--space", f"{spaces}:small") == 0
    chance = results.load_run(tmp_path / "permuted")
    assert json.loads((chance.path / "best.json").read_text()) == json.loads((finished.path / "best.json").read_text())
    assert chance.final is not None
    assert 0.05 < chance.final["winner"]["accuracy"] < 0.16  # chance is 0.1, of 500 images


@pytest.mark.ray
@pytest.mark.slow
def test_runs_are_kept_in_a_relative_directory_by_default(synthetic_dir: Path, spaces: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "study.run", "--dataset", "synthetic", "--data-dir", str(synthetic_dir)]
    command += ["--space", f"{spaces}:small", "--samples", "2", "--max-epochs", "1", "--final-epochs", "1"]
    done = subprocess.run([*command, "--name", "near"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    near = results.load_run(tmp_path / "runs" / "near")
    assert set(near.trials["status"]) == {"completed"}
    assert (near.path / "final" / "model.pt").exists()
    assert (near.path / "report.html").exists()


def test_when_every_trial_fails_the_study_says_why_most_did_and_ends_with_1(
    local_ray: None,
    synthetic_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(config: dict[str, object], **arrays: object) -> None:
        raise RuntimeError("the GPU is on fire")

    monkeypatch.setattr(trainable, "train", fails)
    assert study(synthetic_dir, tmp_path, "failing", "--samples", "2") == 1
    said = capsys.readouterr().err
    assert "the GPU is on fire" in said
    assert said.count("\n") == 1
    failing = results.load_run(tmp_path / "failing")
    assert failing.study["status"] == "failed"
    assert set(failing.trials["status"]) == {"failed"}
    retries = [event for event in (failing.path / "epochs.jsonl").read_text().splitlines() if '"retry"' in event]
    assert len(retries) == 2 * 2
