"""Run directories, whole, unfinished and damaged, as tables."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_run import MadeTrial, epoch_event, made_final, made_run, write_events, write_study
from optuna.distributions import CategoricalDistribution, FloatDistribution

import results

HYPERPARAMETERS = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "batch_size": CategoricalDistribution([32, 64]),
    "batch_norm": CategoricalDistribution([False, True]),
    "optimizer": CategoricalDistribution(["sgd", "adam"]),
    "momentum": FloatDistribution(0.0, 0.9),
}
TRIALS = [
    MadeTrial({"lr": 0.1, "batch_size": 32, "batch_norm": True, "optimizer": "sgd", "momentum": 0.0}, [0.3, 0.5, 0.5]),
    MadeTrial({"lr": 0.2, "optimizer": "adam"}, [0.2], "stopped", "rung 1"),
    MadeTrial({"lr": 0.9, "batch_size": 64, "batch_norm": False, "optimizer": "adam"}, [], "diverged", "loss nan"),
    MadeTrial({"lr": 0.3, "batch_size": 64, "batch_norm": False, "optimizer": "adam"}, [0.4], "running"),
]


@pytest.fixture
def run(tmp_path: Path) -> results.Run:
    return made_run(tmp_path / "made", TRIALS, HYPERPARAMETERS)


def append(run: results.Run, text: str) -> results.Run:
    with (run.path / "epochs.jsonl").open("a") as record:
        record.write(text)
    return results.load_run(run.path)


def test_the_trials_table_is_as_documented(run: results.Run) -> None:
    trials = run.trials
    assert trials.index.name == "number"
    assert trials.index.dtype == "int64"
    columns = ["trial_id", "status", "stop_reason", *(f"config/{name}" for name in HYPERPARAMETERS), "seed", "epochs"]
    columns += ["training_iteration", "train_loss", "val_loss", "val_accuracy", "best_val_accuracy", "best_epoch"]
    assert list(trials.columns) == [*columns, "time_total_s", "started", "ended"]
    assert trials["status"].tolist() == ["completed", "stopped", "diverged", "interrupted"]
    assert trials["stop_reason"].isna().tolist() == [True, False, False, True]
    assert trials["epochs"].tolist() == trials["training_iteration"].tolist() == [3, 1, 0, 1]
    assert trials["val_accuracy"].tolist() == pytest.approx([0.5, 0.2, np.nan, 0.4], nan_ok=True)
    assert trials["time_total_s"].tolist() == [30, 10, 0, 10]
    assert trials["ended"].isna().tolist() == [False, False, False, True]


def test_a_config_column_keeps_the_type_of_its_field_beside_missing_values(run: results.Run) -> None:
    dtypes = run.trials.filter(regex="config").dtypes.astype(str).tolist()
    assert dtypes == ["float64", "Int64", "boolean", "str", "float64"]
    assert run.config(1) == {"lr": 0.2, "optimizer": "adam"}
    assert run.config(0)["batch_norm"] is True
    assert json.loads(json.dumps(run.recipe(0)))["batch_size"] == 32


def test_a_trials_recipe_is_the_base_with_what_was_drawn(run: results.Run) -> None:
    recipe = run.recipe(1)
    assert recipe == {**run.base, "lr": 0.2, "optimizer": "adam", "epochs": 9, "seed": 1}


def test_the_best_epoch_is_the_earliest_of_equals(run: results.Run) -> None:
    assert run.trials["best_epoch"].isna().tolist() == [False, False, True, False]
    assert run.trials["best_epoch"][0] == 2


def test_of_an_epoch_trained_twice_the_last_counts(run: results.Run) -> None:
    again = append(run, json.dumps(epoch_event(3, 1, 0.7)) + "\n")
    assert len(again.epochs) == len(run.epochs)
    assert again.epochs.query("number == 3")["val_accuracy"].item() == 0.7
    assert again.trials["best_val_accuracy"][3] == again.trials["val_accuracy"][3] == 0.7


def test_a_half_written_last_line_is_left_out_and_named(run: results.Run) -> None:
    damaged = append(run, '{"event": "epoch", "num')
    assert damaged.dropped == ("made/epochs.jsonl line 13, the last, is half-written",)
    pd.testing.assert_frame_equal(damaged.trials, run.trials)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"event": "epoch"\n', "line 13 is damaged"),
        (b"\0\0\0\xff\n", "line 13 is damaged"),
        (b"[1, 2]\n", "line 13 is no event"),
        (b'{"event": "gone"}\n', "line 13 is no event"),
        (b'{"event": "end", "number": 0, "time": 1}\n', "line 13 is damaged: its end event lacks status, stop_reason"),
        (b'{"event": "retry", "reason": "", "time": 1}\n', "line 13 is damaged: its retry event lacks number"),
        (json.dumps(epoch_event(9, 1, 0.5)).encode() + b"\n", "line 13 is of trial 9, whose first line is"),
    ],
)
def test_a_broken_line_in_the_middle_is_named_and_the_rest_is_read(run: results.Run, line: bytes, words: str) -> None:
    record = run.path / "epochs.jsonl"
    record.write_bytes(record.read_bytes() + line + json.dumps(epoch_event(3, 2, 0.6)).encode() + b"\n")
    read = results.load_run(run.path)
    assert len(read.dropped) == 1
    assert words in read.dropped[0]
    assert read.trials["val_accuracy"][3] == 0.6


def test_a_run_that_has_just_begun_has_empty_tables_of_the_same_columns(tmp_path: Path, run: results.Run) -> None:
    path = tmp_path / "begun"
    path.mkdir()
    write_study(path, HYPERPARAMETERS, status="running", ended=None)
    begun = results.load_run(path)
    assert begun.trials.empty
    assert begun.trials.columns.equals(run.trials.columns)
    assert begun.epochs.dtypes.equals(run.epochs.dtypes)
    results.write_tables(begun)


def test_a_finished_search_without_its_record_is_an_error_that_names_the_file(run: results.Run) -> None:
    (run.path / "epochs.jsonl").unlink()
    with pytest.raises(results.RunError, match=r"epochs\.jsonl is missing"):
        results.load_run(run.path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"format": 1, "na', "half-written"),
        ("{}", "names no format"),
        ("[]", "names no format"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1, "name": "x"}', "lacks kind, command"),
    ],
)
def test_a_study_json_that_is_none_is_an_error_that_names_it(run: results.Run, content: str, words: str) -> None:
    (run.path / "study.json").write_text(content)
    with pytest.raises(results.RunError, match=words) as error:
        results.load_run(run.path)
    assert str(run.path / "study.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_directory_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(results.RunError, match="no such directory"):
        results.load(tmp_path / "nothing")
    with pytest.raises(results.RunError, match=r"no study\.json"):
        results.load(tmp_path)


def test_damage_in_final_costs_only_what_is_damaged(tmp_path: Path) -> None:
    run = made_run(tmp_path / "made", TRIALS, HYPERPARAMETERS, final=made_final(), correct={"winner": [True] * 20})
    assert run.final == made_final()
    assert run.predictions is not None
    (run.path / "final" / "metrics.json").write_text('{"verdict')
    whole = (run.path / "final" / "predictions.csv").read_text()
    (run.path / "final" / "predictions.csv").write_text(whole[:-6])
    read = results.load_run(run.path)
    assert read.final is None
    assert read.predictions is None
    assert [line.split(" is ")[0] for line in read.dropped] == ["final/metrics.json", "final/predictions.csv"]
    assert len(read.trials) == 4


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([1], "holds [1] instead of an object"),
        ({key: value for key, value in made_final().items() if key != "verdict"}, "lacks verdict"),
        (made_final(winner={"accuracy": 0.8}), "lacks winner/recipe, winner/interval, winner/n, winner/seeds"),
        ({**made_final(), "recipe_under_test": 1, "final_epochs": 3}, "has 1 as recipe_under_test"),
    ],
)
def test_metrics_that_are_none_of_a_final_are_left_out_and_named(tmp_path: Path, metrics: Any, words: str) -> None:
    run = made_run(tmp_path / "made", TRIALS, HYPERPARAMETERS, final=metrics)
    assert run.final is None
    [line] = run.dropped
    assert line.startswith("final/metrics.json is damaged: it ")
    assert words in line


def test_a_run_is_shown_in_one_line_where_python_shows_it(run: results.Run) -> None:
    assert repr(run) == f"<Run {run.path}: {len(run.trials)} trials, {len(run.epochs)} epochs, finished>"


def test_a_run_is_found_by_its_directory_a_file_of_it_its_name_and_latest(
    run: results.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path.parent)
    assert results.find_run("made", runs_dir=".") == Path("made")
    assert results.find_run("made/study.json") == results.find_run(Path("made")) == Path("made")
    assert results.find_run("latest", runs_dir=".") == Path("made")


def test_a_folder_of_images_with_a_runs_name_is_not_the_run(
    run: results.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "made").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert results.find_run("made", runs_dir=run.path.parent) == run.path


def test_a_run_in_a_store_is_to_be_fetched_first(tmp_path: Path) -> None:
    with pytest.raises(results.RunError, match="python -m results fetch s3://bucket/made"):
        results.load_run("s3://bucket/made")


def test_a_file_in_a_runs_place_is_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(results.RunError, match="is no run: it is a file"):
        results.load_run(tmp_path / "notes")


def test_epochs_of_final_trainings_are_told_apart_by_role_and_seed(run: results.Run) -> None:
    (run.path / "final").mkdir()
    events = []
    for number, (role, seed) in enumerate(product(("winner", "baseline"), (1, 2))):
        about = {"role": role, "seed": seed}
        events.append({"event": "trial", "number": number, **about, "config": {}, "time": 0.0})
        unmeasured = {"val_accuracy": None, "val_loss": None}
        events += [{**epoch_event(number, epoch, 0.0), **about, **unmeasured} for epoch in (1, 2)]
    write_events(run.path / "final" / "epochs.jsonl", events)
    final = results.load_run(run.path).final_epochs
    assert len(final) == 8
    assert final["val_accuracy"].isna().all()
    assert final.groupby(["role", "seed"]).size().tolist() == [2, 2, 2, 2]


def test_the_written_tables_read_back_as_they_are(run: results.Run) -> None:
    results.write_tables(run)
    pd.testing.assert_frame_equal(pd.read_parquet(run.path / "trials.parquet"), run.trials)
    pd.testing.assert_frame_equal(pd.read_parquet(run.path / "epochs.parquet"), run.epochs)
    from_csv = pd.read_csv(run.path / "trials.csv", index_col="number")
    assert from_csv["val_accuracy"].equals(run.trials["val_accuracy"])
    assert pd.read_csv(run.path / "epochs.csv").columns.equals(run.epochs.columns)
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


def test_tables_are_made_from_the_record_and_not_from_older_tables(run: results.Run) -> None:
    (run.path / "trials.csv").write_text("nonsense")
    (run.path / "trials.parquet").write_text("nonsense")
    pd.testing.assert_frame_equal(results.load_run(run.path).trials, run.trials)


def test_a_failed_write_leaves_the_old_table(run: results.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write_tables(run)
    before = (run.path / "epochs.csv").read_text()

    def half(self: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_text("number,tr")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    with pytest.raises(OSError, match="No space"):
        results.write_tables(run)
    assert (run.path / "epochs.csv").read_text() == before
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


def test_a_directory_of_runs_gives_all_of_them_oldest_first(tmp_path: Path) -> None:
    made_run(tmp_path / "a", TRIALS, HYPERPARAMETERS, created="2026-11-23T12:00:00+00:00")
    made_run(tmp_path / "b", TRIALS, HYPERPARAMETERS, created="2026-11-23T11:00:00+00:00")
    (tmp_path / "notes").mkdir()
    runs = results.load_runs(tmp_path)
    assert [run.name for run in runs] == ["b", "a"]


def test_an_unreadable_run_among_others_is_left_out_with_a_warning(tmp_path: Path) -> None:
    made_run(tmp_path / "a", TRIALS, HYPERPARAMETERS)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "study.json").write_text("{")
    with pytest.warns(UserWarning, match="half-written"):
        assert [run.name for run in results.load_runs(tmp_path)] == ["a"]


def test_latest_is_the_newest_run_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(results.RunError, match="no run under runs/ yet"):
        results.load("latest")
    made_run(tmp_path / "runs" / "a", TRIALS, HYPERPARAMETERS, created="2026-11-23T12:00:00+00:00")
    made_run(tmp_path / "runs" / "b", TRIALS, HYPERPARAMETERS, created="2026-11-23T11:00:00+00:00")
    assert results.load("latest").name == "a"
    with pytest.raises(results.RunError, match=r"a directory of runs.*load_runs"):
        results.load("runs")


def test_importing_results_loads_nothing_heavy() -> None:
    heavy = {"torch", "ray", "optuna", "scipy", "plotly", "jinja2"}
    code = f"import sys, results; print(*sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
