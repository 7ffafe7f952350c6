"""`python -m results` as a shell sees it: what it prints, where, and the code it ends with."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made_run import MadeTrial, made_final, made_run
from optuna.distributions import FloatDistribution
from stored_study import stored_trials

import results
from results.__main__ import main

HYPERPARAMETERS = {"dropout": FloatDistribution(0.0, 0.5)}
TRIALS = [MadeTrial({"dropout": at / 20}, [0.5, 0.6 + at / 200]) for at in range(11)]
RIGHT = {"winner": [True] * 90 + [False] * 10, "baseline": [True] * 60 + [False] * 40}


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> results.Run:
    """runs/made, seen from the directory above it."""
    monkeypatch.chdir(tmp_path)
    return made_run(Path("runs/made"), TRIALS, HYPERPARAMETERS, final=made_final(), correct=RIGHT)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that says why."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.startswith("results: ")
    return line


def test_show_has_the_ranking_the_verdict_and_the_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "latest"]) == 0
    said = capsys.readouterr().out
    for part in ("11 trials: 11 completed.", "winner (trial 10)", "They tie.", "best on an edge", "Files: runs/made"):
        assert part in said


def test_show_names_the_mean_of_several_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    made_run(Path("runs/seeds"), TRIALS, HYPERPARAMETERS, final=made_final(0.6, 0.7))
    assert main(["show", "runs/seeds"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "winner, mean of 2" in line]
    assert line.split()[-1] == "65.00%"


def test_show_of_a_running_study_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made_run(Path("runs/going"), TRIALS[:2], HYPERPARAMETERS, status="running", ended=None)
    assert main(["show", "runs/going"]) == 0
    assert "No verdict yet: the study is running." in capsys.readouterr().out


def test_show_of_an_empty_record_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made_run(Path("runs/empty"), [], HYPERPARAMETERS)
    assert main(["show", "runs/empty"]) == 0
    said = capsys.readouterr().out
    assert "No trial has begun." in said
    assert "what the final trainings gave on the test set is missing" in said


def test_show_as_json_ranks_the_trials_and_lists_the_findings(
    run: results.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "runs/made", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["winner"]["number"] == 10
    assert [row["number"] for row in said["leaderboard"]] == results.leaderboard(run).index.tolist()
    assert [finding["name"] for finding in said["findings"]] == [each.name for each in results.diagnose(run)]


def test_the_next_space_is_written_once_and_never_over_a_file(
    run: results.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "runs/made", "--next-space", "next.py"]) == 0
    assert Path("next.py").read_text() == results.next_space(run)
    assert "--space next.py:space" in capsys.readouterr().out
    assert "next.py is there already" in refused(capsys, "show", "runs/made", "--next-space", "next.py")


def test_a_piped_trial_is_one_line_without_colour() -> None:
    shown = subprocess.run([sys.executable, "-m", "results", "show", "latest"], capture_output=True, text=True)
    assert "\x1b" not in shown.stdout
    assert sum("completed  " in line for line in shown.stdout.splitlines()) == 10


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    command = f"{sys.executable} -m results export latest --format json | head -1"
    shown = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "{\n", "")


def test_compare_leaves_out_what_neither_run_has(capsys: pytest.CaptureFixture[str]) -> None:
    made_run(Path("runs/untested"), TRIALS, HYPERPARAMETERS)
    assert main(["compare", "runs/made", "runs/untested"]) == 0
    said = capsys.readouterr().out
    assert "validation" in said
    assert "McNemar" not in said


def test_compare_says_which_is_better_and_by_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    made_run(Path("runs/other"), TRIALS, HYPERPARAMETERS, correct={"winner": RIGHT["baseline"]})
    assert main(["compare", "runs/made", "runs/other"]) == 0
    said = capsys.readouterr().out
    assert "runs/other: its model is worse than that of runs/made: -30.00 points on the same test images" in said


@pytest.mark.parametrize(
    ("digest", "words"),
    [("d1" * 32, "held out other images for validation"), ("ff" * 32, "no accuracy of theirs can be compared")],
)
def test_compare_says_what_may_not_be_compared(capsys: pytest.CaptureFixture[str], digest: str, words: str) -> None:
    data = {"digest": digest, "split_digest": "ff" * 32, "train": 45000, "validation": 5000}
    made_run(Path("runs/other"), TRIALS, HYPERPARAMETERS, data=data)
    assert main(["compare", "runs/made", "runs/other"]) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "other images" in line]
    assert len(warned) == 1
    assert words in warned[0]


def test_exports_read_back_as_the_table(run: results.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "runs/made", "--format", "csv"]) == 0
    assert capsys.readouterr().out == run.trials.to_csv()
    assert main(["export", "runs/made", "--format", "parquet", "--output", "a.parquet"]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet("a.parquet"), run.trials)
    assert main(["export", "runs/made", "--format", "json", "--output", "a.json"]) == 0
    assert len(json.loads(Path("a.json").read_text())["trials"]) == 11


def test_an_exported_optuna_study_opens_in_optuna() -> None:
    assert main(["export", "runs/made", "--format", "optuna", "--output", "a.db"]) == 0
    values = {trial.number: trial.value for trial in stored_trials("sqlite:///a.db", "made") if trial.value is not None}
    assert max(values, key=lambda number: values[number]) == 10


@pytest.mark.parametrize("form", ["csv", "parquet", "json", "optuna"])
def test_an_export_into_a_directory_that_is_not_there_names_it(capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert "nowhere" in refused(capsys, "export", "runs/made", "--format", form, "--output", f"nowhere/a.{form}")


@pytest.mark.parametrize("form", ["parquet", "optuna"])
def test_what_is_no_text_is_not_printed(capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert "needs --output FILE" in refused(capsys, "export", "runs/made", "--format", form)


def test_list_gives_the_mean_of_several_seeds_and_names_what_it_cannot_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_run(Path("runs/seeds"), TRIALS, HYPERPARAMETERS, final=made_final(0.6, 0.7))
    Path("runs/broken").mkdir()
    Path("runs/broken/study.json").write_text('{"for')
    assert main(["list", "--json"]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["runs/seeds"]["test_accuracy"] == pytest.approx(0.65)
    assert "half-written" in rows["runs/broken"]["status"]


def test_list_has_a_line_for_each_run_and_marks_synthetic_images(capsys: pytest.CaptureFixture[str]) -> None:
    made_run(Path("runs/made-up"), TRIALS, HYPERPARAMETERS, dataset="synthetic", created="2026-11-24T11:00:00+00:00")
    made_run(Path("runs/seeds"), [], {}, kind="baseline", space=None, created="2026-11-25T11:00:00+00:00")
    assert main(["list"]) == 0
    _, made, made_up, seeds = capsys.readouterr().out.splitlines()
    said = [" ".join(line.split()) for line in (made, made_up, seeds)]
    assert said == [
        "2026-11-23 11:00 runs/made cnn 11 65.00% 82.00% no evidence finished",
        "2026-11-24 11:00 runs/made-up cnn (synthetic images) 11 65.00% finished",
        "2026-11-25 11:00 runs/seeds (baseline) finished",
    ]


@pytest.mark.parametrize("command", [["show"], ["report"], ["compare", "runs/made"], ["export", "--format", "csv"]])
@pytest.mark.parametrize(("run_named", "why"), [("nowhere", "no such directory"), ("empty", "it has no study.json")])
def test_what_is_no_run_is_refused_in_a_line(
    capsys: pytest.CaptureFixture[str], command: list[str], run_named: str, why: str
) -> None:
    Path("empty").mkdir()
    assert why in refused(capsys, *command, run_named)


def test_a_directory_without_runs_cannot_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no run" in refused(capsys, "list", "nowhere")


def test_a_notebook_shows_a_run_as_the_terminal_does_in_one_block(run: results.Run) -> None:
    page = run._repr_html_()
    assert page.count("<pre") == 1
    for part in ("11 trials: 11 completed.", "winner (trial 10)", "They tie.", "best on an edge"):
        assert part in page


def test_nothing_in_a_run_becomes_markup_in_a_notebook() -> None:
    run = made_run(Path("runs/marked"), TRIALS, HYPERPARAMETERS, name="<script>alert(1)</script>", reason="<b>")
    assert "<script" not in run._repr_html_()
    assert "<b>" not in run._repr_html_()
