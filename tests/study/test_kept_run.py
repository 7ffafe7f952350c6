"""A run that version 0.1 made, kept as it was left: it is read, replayed and resumed by the code of today.

It is a search of five trials on the synthetic images, without its report, pictures and Ray's files:

    python -m study.run --dataset synthetic --samples 5 --max-epochs 3 --final-epochs 2 --space cnn \
        --fix channels=8-16 --fix hidden=128 --seed 1 --max-concurrent 1 --gpus-per-trial 0 --name kept

Its space "cnn" is called cnn-wide now.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from driver import events

import results
import study
from results.__main__ import main as show
from study import data, run
from study.data import DataOptions
from study.storage.provenance import machine

KEPT = Path(__file__).parents[1] / "kept_run_0_1"


@pytest.fixture(scope="module")
def kept() -> results.Run:
    return results.load_run(KEPT)


def is_same_machine(kept: results.Run) -> bool:
    """Whether torch and the processor are those that the run was made with, so that every bit is the same."""
    return bool(
        kept.study["versions"]["torch"] == version("torch").partition("+")[0]
        and kept.study["hardware"]["cpu"] == machine()["cpu"]
    )


def test_its_trials_table_is_the_one_that_was_written_then(kept: results.Run) -> None:
    assert kept.dropped == ()
    written = pd.read_csv(KEPT / "trials.csv", index_col="number", dtype={"config/hidden": str})
    pd.testing.assert_frame_equal(kept.trials[written.columns], written, check_dtype=False)
    assert set(kept.trials.columns) == set(written.columns)


def test_its_best_trial_and_its_verdict_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(["show", str(KEPT), "--json"]) in (0, None)
    shown = json.loads(capsys.readouterr().out)
    assert shown["winner"]["number"] == json.loads((KEPT / "best.json").read_text())["trial"]
    assert shown["winner"]["recipe"] == json.loads((KEPT / "best.json").read_text())["recipe"]
    assert show(["show", str(KEPT)]) in (0, None)
    said = capsys.readouterr().out
    assert "Synthetic images" in said
    assert "74.60%" in said
    assert "19.80%" in said


def test_its_predictions_give_its_accuracies(kept: results.Run) -> None:
    assert kept.predictions is not None
    assert kept.final is not None
    for role in ("winner", "baseline"):
        correct = kept.predictions[role] == kept.predictions["label"]
        assert kept.final[role]["accuracy"] == correct.mean()


def test_the_synthetic_images_and_their_split_are_those_of_then(kept: results.Run, synthetic_dir: Path) -> None:
    dataset = data.load("synthetic", DataOptions(synthetic_dir))
    digests = dataset.digests()
    assert {name: digests[name] for name in ("digest", "split_digest")} == {
        name: kept.study["data"][name] for name in ("digest", "split_digest")
    }


def test_a_trial_of_it_is_replayed_to_the_last_bit(kept: results.Run, synthetic_dir: Path) -> None:
    """On another processor, or with another torch, the replay says what differs."""
    replayed = study.replay(kept, trial=1, data_dir=synthetic_dir)
    assert set(replayed.epochs["metric"]) == {"train_loss", "val_loss", "val_accuracy"}
    if is_same_machine(kept):
        assert replayed.same
        assert replayed.epochs["training_iteration"].tolist() == [1, 1, 1]
    elif not replayed.same:
        assert "torch was" in replayed.why or "the processor was" in replayed.why


def copy(path: Path, lines: int | None = None) -> Path:
    """The kept run in `path`; with so many `lines` of its event log, as if its driver had died then."""
    shutil.copytree(KEPT, path)
    if lines is not None:
        shutil.rmtree(path / "final")
        (path / "best.json").unlink()
        log = (KEPT / "epochs.jsonl").read_bytes().splitlines(keepends=True)
        (path / "epochs.jsonl").write_bytes(b"".join(log[:lines]) + log[lines][:20])
        content = json.loads((path / "study.json").read_text())
        (path / "study.json").write_text(json.dumps({**content, "status": "running", "test_openings": []}))
    return path


@pytest.fixture(scope="module")
def grown(local_ray: None, synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    """The finished run, with one more trial."""
    path = copy(tmp_path_factory.mktemp("grown") / "kept")
    assert run.main(["--resume", str(path), "--samples", "6", "--data-dir", str(synthetic_dir), "--quiet"]) == 0
    return results.load_run(path)


def test_resumed_with_more_trials_it_keeps_those_that_it_had(kept: results.Run, grown: results.Run) -> None:
    assert grown.trials.index.tolist() == list(range(6))
    assert grown.trials["status"][5] in ("completed", "stopped")
    pd.testing.assert_frame_equal(grown.trials.loc[:4, kept.trials.columns], kept.trials, check_dtype=False)
    assert events(grown.path / "epochs.jsonl")[: len(events(KEPT / "epochs.jsonl"))] == events(KEPT / "epochs.jsonl")
    sixth = grown.recipe(5)
    assert (sixth["channels"], sixth["hidden"]) == ("8-16", "128")
    for name, distribution in kept.study["knobs"].items():
        choices = distribution["attributes"].get("choices")
        bounds = distribution["attributes"]
        assert sixth[name] in choices if choices else bounds["low"] <= sixth[name] <= bounds["high"], name


def test_resumed_it_evaluates_no_network_twice_on_the_test_set(kept: results.Run, grown: results.Run) -> None:
    openings = [(opening["role"], json.dumps(opening["recipe"])) for opening in grown.study["test_openings"]]
    assert len(openings) == len(set(openings))
    assert [role for role, _ in openings].count("baseline") == 1
    assert grown.final is not None
    assert kept.final is not None
    assert grown.final["baseline"]["seeds"] == kept.final["baseline"]["seeds"]
    if int(results.best(grown).name) == 3:  # type: ignore[call-overload]
        assert grown.final["winner"]["seeds"] == kept.final["winner"]["seeds"]
    assert (grown.path / "report.html").exists()


def test_resumed_after_a_cut_it_ends_as_the_one_that_was_not_cut(
    kept: results.Run, grown: results.Run, synthetic_dir: Path, tmp_path: Path
) -> None:
    """Its checkpoints are gone as well, so that unfinished trials are trained again from their start."""
    path = copy(tmp_path / "kept", lines=len(events(KEPT / "epochs.jsonl")) // 2)
    assert run.main(["--resume", str(path), "--samples", "6", "--data-dir", str(synthetic_dir), "--quiet"]) == 0
    resumed = results.load_run(path)
    assert resumed.status == "finished"
    assert resumed.trials.index.tolist() == list(range(6))
    drawn = [name for name in kept.trials.columns if name.startswith("config/")]
    pd.testing.assert_frame_equal(resumed.trials[drawn], grown.trials[drawn], check_dtype=False)
    if is_same_machine(kept):
        same = kept.trials["epochs"] == resumed.trials["epochs"].loc[:4]
        assert same.any()
        for number in np.flatnonzero(same):
            now, then = resumed.trials.loc[number], kept.trials.loc[number]
            assert now[["train_loss", "val_loss", "val_accuracy"]].tolist() == (
                then[["train_loss", "val_loss", "val_accuracy"]].tolist()
            )
