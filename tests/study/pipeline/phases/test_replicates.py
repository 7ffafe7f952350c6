"""A study that is repeated from other seeds and on other splits, inside its run."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_run import made_run

import results
from study import run
from study.errors import StudyFailed
from study.pipeline.phases import replicates
from study.pipeline.phases.finalists import _seeds
from study.storage.study_file import StudyFile

SPACE = """
def small(trial):
    return {
        "lr": trial.suggest_float("lr", 1e-3, 0.2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        "hidden": "32",
        "channels": "4-8",
    }
"""


@pytest.fixture(scope="module")
def repeated(local_ray: None, synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    """A study of two trials, and a replicate of it."""
    folder = tmp_path_factory.mktemp("replicates")
    (folder / "mine.py").write_text(SPACE)
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(folder), "--quiet"]
    command += ["--space", f"{folder / 'mine.py'}:small", "--gpus-per-trial", "0", "--name", "repeated"]
    command += ["--samples", "2", "--max-epochs", "2", "--final-epochs", "1", "--final-seeds", "2"]
    assert run.main([*command, "--replicates", "1"]) == 0
    return results.load_run(folder / "repeated")


def copied(repeated: results.Run, path: Path) -> Path:
    return Path(shutil.copytree(repeated.path, path, ignore=shutil.ignore_patterns("ray")))


def test_each_replicate_is_a_complete_study_with_seeds_and_a_split_of_its_own(repeated: results.Run) -> None:
    runs = (repeated, *repeated.replicates)
    assert [each.study["name"] for each in runs[1:]] == ["repeated/replicates/1"]
    assert [each.status for each in runs] == ["finished"] * 2
    assert all(len(each.trials) == 2 for each in runs)
    for seeds in ([each.study["seed"] for each in runs], [each.study["arguments"]["split_seed"] for each in runs]):
        assert len(set(seeds)) == 2
    assert len({each.study["data"]["split_digest"] for each in runs}) == 2
    assert len({each.study["data"]["digest"] for each in runs}) == 1
    trained = [set(each.final_epochs["seed"]) for each in runs]
    assert len(set.union(*trained)) == 2 * 2
    assert [each.baseline for each in runs] == [repeated.baseline] * 2
    assert len(runs[1].study["test_openings"]) == 2 * 2


def test_the_study_reports_what_its_replicates_agree_on(repeated: results.Run) -> None:
    assert repeated.final is not None
    content = repeated.final["replicates"]
    gains = [
        float(np.mean([each["accuracy"] for each in one.final["winner"]["seeds"]]))
        - float(np.mean([each["accuracy"] for each in one.final["baseline"]["seeds"]]))
        for one in (repeated, *repeated.replicates)
        if one.final is not None
    ]
    [spread] = [row for row in content["spread"] if row["score"] == "difference"]
    assert (spread["studies"], spread["median"]) == (2, pytest.approx(np.median(gains)))
    assert (spread["low"], spread["high"]) == (pytest.approx(min(gains)), pytest.approx(max(gains)))
    batches = [row for row in content["choices"] if row["hyperparameter"] == "batch_size"]
    assert sum(row["studies"] for row in batches) == 2
    [said] = [each for each in repeated.final["sentences"] if each.startswith("Replicates: over 2 studies")]
    assert "Chosen: " in said
    cost = results.budget(repeated)
    assert cost.loc["replicates", "epochs"] == sum(results.budget(each)["epochs"].sum() for each in repeated.replicates)


def test_a_complete_replicate_is_not_repeated_and_one_that_was_cut_off_comes_to_the_same_end(
    repeated: results.Run, tmp_path: Path
) -> None:
    path = copied(repeated, tmp_path / "cut")
    first, study_json = path / "replicates" / "1", path / "replicates" / "1" / "study.json"
    before = study_json.stat().st_mtime_ns
    assert run.main(["--resume", str(path), "--quiet"]) == 0
    assert study_json.stat().st_mtime_ns == before
    log = (first / "epochs.jsonl").read_bytes()
    shutil.rmtree(first / "final")
    (first / "epochs.jsonl").write_bytes(log[: len(log) // 2])
    study = json.loads(study_json.read_text())
    study_json.write_text(json.dumps({**study, "status": "running", "test_openings": []}))
    assert run.main(["--resume", str(path), "--quiet"]) == 0
    [again], [wanted] = results.load_run(path).replicates, repeated.replicates
    assert (again.best or {})["recipe"] == (wanted.best or {})["recipe"]
    assert (again.final or {})["winner"]["accuracy"] == (wanted.final or {})["winner"]["accuracy"]


def test_the_seeds_that_would_settle_it_are_added_by_the_command_that_is_printed_and_nothing_else(
    repeated: results.Run, tmp_path: Path
) -> None:
    path = copied(repeated, tmp_path / "undecided")
    metrics = json.loads((path / "final" / "metrics.json").read_text())
    metrics["seeds_needed"] = {"difference": 0.01, "power": 0.9, "seeds": 3}
    (path / "final" / "metrics.json").write_text(json.dumps(metrics))
    [said] = [
        each for each in results.sentences(results.load_run(path)) if each.startswith("Missing seeds: the 1 more")
    ]
    words = shlex.split(said.split("`")[1])
    assert words[:3] == ["python", "-m", "study.run"]
    assert run.main([*words[3:], "--quiet"]) == 0
    after = results.load_run(path)
    assert after.final_epochs["seed"].nunique() == 3
    assert set(repeated.final_epochs["seed"]) < set(after.final_epochs["seed"])
    assert len(after.study["test_openings"]) == len(repeated.study["test_openings"]) + 2
    for name in ("epochs.jsonl", "replicates/1/final/epochs.jsonl", "best.json"):
        assert (path / name).read_bytes() == (repeated.path / name).read_bytes(), name


def test_further_seeds_of_the_final_are_not_given_to_finalists_that_were_chosen_from(tmp_path: Path) -> None:
    trained = pd.DataFrame({"trial": [3, 3, 5, 5], "seed": [1, 2, 1, 2]})
    final = pd.DataFrame({"role": ["winner"], "seed": [9]})
    chosen = replace(made_run(tmp_path / "one", [], {}), finalist_epochs=trained, final_epochs=final)
    assert _seeds(4, chosen, {3, 5}) == 2
    assert _seeds(1, chosen, {3, 5}) == 1
    assert _seeds(4, chosen, {3, 7}) == 4  # another finalist: the choice is another one
    assert _seeds(4, replace(chosen, final_epochs=final.iloc[:0]), {3, 5}) == 4  # nothing has met the test set


def test_a_replicate_that_finds_nothing_costs_itself_only(
    repeated: results.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*arguments: object) -> None:
        raise StudyFailed("no trial can be ranked", resumable=False)

    monkeypatch.setattr(replicates, "search", nothing)
    path = copied(repeated, tmp_path / "failed")
    assert run.main(["--resume", str(path), "--replicates", "2", "--quiet"]) == 0
    assert StudyFile(path / "replicates" / "2" / "study.json").content["status"] == "failed"
    assert results.load_run(path).study["status"] == "finished"
