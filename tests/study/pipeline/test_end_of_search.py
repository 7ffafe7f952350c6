"""A search that ends when more trials are not worth it or a target is reached, and stays ended when resumed."""

import shutil
from pathlib import Path

import pytest

import results
from study import run

SPACE = """
def small(trial):
    return {"lr": trial.suggest_float("lr", 1e-3, 0.2, log=True), "hidden": "32", "channels": "4-8"}
"""


def test_a_search_starts_no_trial_once_more_are_not_worth_it_and_neither_does_a_resumed_one(
    local_ray: None, synthetic_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(tmp_path), "--name", "one"]
    command += ["--space", f"{tmp_path / 'mine.py'}:small", "--gpus-per-trial", "0", "--max-concurrent", "1"]
    command += ["--samples", "9", "--max-epochs", "1", "--final-epochs", "1", "--scheduler", "none"]
    assert run.main([*command, "--stop-when-worth", "100"]) == 0
    said = capsys.readouterr().out
    ended = results.load_run(tmp_path / "one")
    assert len(ended.trials) == 5  # as many as it takes to say anything
    assert "The search ends after 5 trials, by --stop-when-worth: 20 more trials: about +" in said
    assert ended.final is not None
    assert ended.final["further_search"]["trials"] == 20
    assert any(sentence.startswith("Further search: 20 more trials: about +") for sentence in ended.final["sentences"])
    again = Path(shutil.copytree(ended.path, tmp_path / "again", ignore=shutil.ignore_patterns("ray")))
    assert run.main(["--resume", str(again), "--quiet"]) == 0
    assert (again / "epochs.jsonl").read_bytes() == (ended.path / "epochs.jsonl").read_bytes()
    assert run.main(["--resume", str(again), "--stop-when-worth", "0", "--samples", "6", "--quiet"]) == 0
    assert len(results.load_run(again).trials) == 6


def test_a_target_ends_the_search_also_when_it_is_resumed_and_not_the_control(
    local_ray: None, synthetic_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(tmp_path), "--name", "one"]
    command += ["--space", f"{tmp_path / 'mine.py'}:small", "--gpus-per-trial", "0", "--max-concurrent", "1", "--quiet"]
    command += ["--samples", "9", "--max-epochs", "2", "--final-epochs", "1", "--scheduler", "none"]
    assert run.main([*command, "--stop-at", "0.001", "--control", "random"]) == 0
    ended = results.load_run(tmp_path / "one")
    assert ended.trials["stop_reason"].tolist() == ["target reached"]
    assert ended.control is not None
    assert ended.control.trials["status"].tolist() == ["completed"]
    assert ended.control.trials["epochs"].tolist() == [2]
    assert run.main(["--resume", str(ended.path), "--stop-at", "0.001", "--quiet"]) == 0
    assert len(results.load_run(ended.path).trials) == 1
