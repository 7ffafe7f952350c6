"""The evidence that a study gathers beside its verdict, and the replay of one of its trials."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import results
from study import run
from study.recipe import BASELINE

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
def common(synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "mine.py").write_text(SPACE)
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(folder), "--quiet"]
    command += ["--space", f"{folder / 'mine.py'}:small", "--gpus-per-trial", "0", "--max-concurrent", "1"]
    return [*command, "--max-epochs", "3"]


@pytest.fixture(scope="module")
def defended(local_ray: None, common: list[str]) -> results.Run:
    """A study with all the evidence that there is."""
    evidence = ["--audit", "2", "--control", "random", "--tune-baseline", "--finalists", "2", "--final-seeds", "2"]
    assert run.main([*common, "--name", "defended", "--samples", "6", "--final-epochs", "2", *evidence]) == 0
    return results.load_run(Path(common[5]) / "defended")


def test_an_audited_trial_begins_as_it_began_in_the_search_and_goes_to_the_end(defended: results.Run) -> None:
    audited = results.audited(defended)
    assert len(audited) == 2
    for number, row in audited.iterrows():
        assert defended.trials["stop_reason"][number].startswith("rung")  # type: ignore[index]
        again = defended.audit_epochs[defended.audit_epochs["trial"] == number]
        before = defended.epochs[defended.epochs["number"] == number]
        assert again["training_iteration"].tolist() == [1, 2, 3]
        assert again["val_accuracy"].tolist()[: len(before)] == before["val_accuracy"].tolist()
        assert row["val_accuracy_at_end"] == again["val_accuracy"].iloc[-1]


def test_an_audit_changes_no_choice(defended: results.Run, tmp_path: Path) -> None:
    """However good the audited trials turn out, the study chooses what it chose without them."""
    assert set(defended.trials.index) == set(range(6))
    path = Path(shutil.copytree(defended.path, tmp_path / "flattered", ignore=shutil.ignore_patterns("ray")))
    audit = [json.loads(line) for line in (path / "audit" / "epochs.jsonl").read_text().splitlines()]
    flattered = [event | ({"val_accuracy": 1.0} if event["event"] == "epoch" else {}) for event in audit]
    assert flattered != audit
    (path / "audit" / "epochs.jsonl").write_text("".join(json.dumps(event) + "\n" for event in flattered))
    (path / "best.json").unlink()
    assert run.main(["--resume", str(path), "--quiet"]) == 0
    assert results.audited(results.load_run(path))["val_accuracy_at_end"].tolist() == [1.0, 1.0]
    assert json.loads((path / "best.json").read_text()) == json.loads((defended.path / "best.json").read_text())


def test_the_finalists_are_the_leaders_and_the_best_of_them_is_chosen(defended: results.Run) -> None:
    confirmed = results.finalists(defended)
    assert set(confirmed.index) == set(results.leaderboard(defended).index[:2])
    assert json.loads((defended.path / "best.json").read_text())["trial"] == confirmed.index[0]


def test_finalists_are_trained_from_fresh_seeds_and_the_best_mean_wins(defended: results.Run) -> None:
    epochs = defended.finalist_epochs
    assert not set(epochs["seed"]) & set(defended.trials["seed"])
    assert not set(epochs["seed"]) & set(defended.final_epochs["seed"])
    confirmed = results.finalists(defended)
    last = epochs[epochs["training_iteration"] == 2].groupby("trial")["val_accuracy"]
    pd.testing.assert_series_equal(confirmed["confirmed_score"].sort_index(), last.mean(), check_names=False)
    assert confirmed["optimism"].to_numpy() == pytest.approx(
        defended.trials["val_accuracy"][confirmed.index].to_numpy() - confirmed["confirmed_score"].to_numpy()
    )


def test_a_finished_study_can_choose_again_among_finalists_that_are_trained_on_folds(
    defended: results.Run, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(defended.path, tmp_path / "folded", ignore=shutil.ignore_patterns("ray")))
    assert run.main(["--resume", str(path), "--folds", "2", "--quiet"]) == 0
    again = results.load_run(path)
    confirmed = results.finalists(again)
    assert confirmed[["trainings", "seeds", "folds"]].to_numpy().tolist() == [[4, 2, 2]] * 2
    assert json.loads((path / "best.json").read_text())["trial"] == confirmed.index[0]
    epochs = again.finalist_epochs
    assert epochs["fold"].value_counts(dropna=False).to_dict() == {np.nan: 8, "1/2": 8, "2/2": 8}
    # The two halves are other images.
    losses = epochs.pivot(index=["trial", "seed", "training_iteration"], columns="fold", values="val_loss")
    assert (losses["1/2"] != losses["2/2"]).all()
    log = (path / "finalists" / "epochs.jsonl").read_bytes()
    assert run.main(["--resume", str(path), "--quiet"]) == 0
    assert (path / "finalists" / "epochs.jsonl").read_bytes() == log


def test_folds_without_finalists_are_refused_with_what_is_missing(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.main([*common, "--name", "none", "--folds", "3"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "study.run: --folds 3 chooses among finalists; give --finalists, such as 3\n"


def test_the_control_is_random_search_with_the_same_epochs(defended: results.Run) -> None:
    assert defended.control is not None
    spent = defended.trials["epochs"].sum()
    assert defended.control.trials["epochs"].sum() >= spent
    log = [json.loads(line) for line in (defended.path / "control" / "epochs.jsonl").read_text().splitlines()]
    starts = [place for place, event in enumerate(log) if event["event"] == "trial"]
    # No trial starts at the budget; the best of those that started before are still promoted.
    assert all(sum(event["event"] == "epoch" for event in log[:place]) < spent for place in starts)
    assert defended.control.trials["ended"].notna().all()
    assert defended.control.hyperparameters == defended.hyperparameters
    beside = results.control(defended)
    assert beside is not None
    assert beside["epochs"] == spent
    assert beside["difference"] == beside["search"] - beside["control"]


def test_the_tuned_baseline_differs_from_the_published_one_in_lr_and_batch_size_only(defended: results.Run) -> None:
    assert defended.final is not None
    assert defended.tuned_baseline is not None
    searched = defended.tuned_baseline.trials[["config/lr", "config/batch_size"]]
    assert (searched.nunique() > 1).all()
    tuned = defended.final["tuned_baseline"]["recipe"]
    chosen = json.loads((defended.path / "tuned-baseline" / "best.json").read_text())["recipe"]
    expected = {"lr": chosen["lr"], "batch_size": chosen["batch_size"], "epochs": 2, "seed": tuned["seed"]}
    assert tuned == {**BASELINE.as_dict(), **expected}
    gain = defended.final["attribution"]
    total = gain["tuning"]["difference"] + gain["recipe"]["difference"]
    assert total == pytest.approx(defended.final["difference"])


def test_test_accuracy_stands_in_no_table_that_selection_reads(defended: results.Run) -> None:
    roles = [opening["role"] for opening in defended.study["test_openings"]]
    assert sorted(roles) == sorted(["winner", "baseline", "tuned_baseline"] * 2)
    for part in (defended, defended.control, defended.tuned_baseline):
        assert part is not None
        assert not [column for column in part.trials.columns if "test" in column]
    assert defended.final_epochs["val_accuracy"].isna().all()


def test_metrics_carry_the_evidence_and_the_cost_of_every_part(defended: results.Run) -> None:
    assert defended.final is not None
    assert {"finalists", "audit", "control", "attribution", "budget", "sentences"} <= set(defended.final)
    cost = results.budget(defended)
    assert cost.index.tolist() == ["search", "audit", "control", "tuned baseline", "finalists", "final"]
    assert cost["epochs"]["final"] == 3 * 2 * 2
    train, validation = defended.study["data"]["train"], defended.study["data"]["validation"]
    assert cost["images"]["final"] == 12 * (train + validation)
    assert cost["images"]["finalists"] == 2 * 2 * 2 * train
    said = " ".join(results.sentences(defended))
    assert all(f"{word}:" in said for word in ("Finalists", "Early stopping", "Control", "Attribution", "Cost"))


FORMAT = (Path(__file__).parents[3] / "docs" / "run-directory.md").read_text()
# What is inside of these is named elsewhere: fields of a Recipe, flags, packages, epochs.
OPEN = {"unused", "arguments", "base", "baseline", "knobs", "recipe", "config", "versions", "published_train_loss"}


def keys(content: Any) -> Iterator[str]:
    """Every key at every depth that this format, and not somebody else's, gives a name."""
    if isinstance(content, list):
        for each in content:
            yield from keys(each)
    elif isinstance(content, dict):
        for name, value in content.items():
            yield name
            if name not in OPEN or (name == "baseline" and "seeds" in value):
                yield from keys(value)


def test_every_key_column_and_file_of_a_run_is_named_in_its_format(defended: results.Run) -> None:
    named = set(re.findall(r"[`\"]([a-z0-9_]+)[`\"]", FORMAT, re.IGNORECASE))
    path = defended.path
    records = [json.loads((path / name).read_text()) for name in ("study.json", "best.json", "final/metrics.json")]
    records.append(json.loads((path / "control" / "study.json").read_text()))
    for folder in (".", "audit", "finalists", "final", "control", "tuned-baseline"):
        records += [json.loads(line) for line in (path / folder / "epochs.jsonl").read_text().splitlines()]
    columns = {name for name in (*defended.trials.columns, *defended.epochs.columns) if not name.startswith("config/")}
    used = {*keys(records), *columns, *(event["event"] for event in records if "event" in event)}
    assert used - named == set()
    files = {file.name for folder in (path, path / "control", path / "final") for file in folder.iterdir()}
    assert {name for name in files if name not in FORMAT} == set()


def test_a_resumed_study_gathers_evidence_that_was_not_asked_for_before(defended: results.Run, tmp_path: Path) -> None:
    path = Path(shutil.copytree(defended.path, tmp_path / "again", ignore=shutil.ignore_patterns("ray")))
    assert run.main(["--resume", str(path), "--audit", "3", "--quiet"]) == 0
    again = results.load_run(path)
    assert len(results.audited(again)) == min(3, int(defended.trials["stop_reason"].notna().sum()))
    assert again.study["test_openings"] == defended.study["test_openings"]


def replay(path: Path, trial: int, data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study.replay", str(path), "--trial", str(trial), "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_replayed_trial_is_the_same_to_the_last_bit(defended: results.Run, synthetic_dir: Path) -> None:
    number = int(results.best(defended).name)  # type: ignore[call-overload]
    replayed = replay(defended.path, number, synthetic_dir)
    assert replayed.returncode == 0, replayed.stderr
    assert "same to the last bit" in replayed.stdout


def test_a_replay_shows_the_first_difference(defended: results.Run, synthetic_dir: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(defended.path, tmp_path / "altered", ignore=shutil.ignore_patterns("ray")))
    events = [json.loads(line) for line in (path / "epochs.jsonl").read_text().splitlines()]
    of_best = int(results.best(defended).name)  # type: ignore[call-overload]
    second = next(e for e in events if e["event"] == "epoch" and (e["number"], e["training_iteration"]) == (of_best, 2))
    second["val_loss"] = float(np.nextafter(second["val_loss"], 1.0))
    (path / "epochs.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    replayed = replay(path, of_best, synthetic_dir)
    assert replayed.returncode == 1
    assert "val_loss is" in replayed.stdout
    assert "from epoch 2 on" in replayed.stdout


def test_a_replay_of_a_trial_that_is_not_there_is_one_clear_line(defended: results.Run, synthetic_dir: Path) -> None:
    refused = replay(defended.path, 77, synthetic_dir)
    assert refused.returncode == 2
    assert "trial is 77; allowed, with a finished epoch" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_fixed_field_is_so_in_every_trial_and_is_not_varied(local_ray: None, common: list[str]) -> None:
    flags = ["--fix", "batch_size=64", "--fix", "flip=random", "--samples", "3", "--final-epochs", "1"]
    assert run.main([*common, "--name", "fixed", *flags]) == 0
    fixed = results.load_run(Path(common[5]) / "fixed")
    assert set(fixed.hyperparameters) == {"lr"}
    assert {fixed.recipe(number)["batch_size"] for number in range(3)} == {64}
    assert {fixed.recipe(number)["flip"] for number in range(3)} == {"random"}
    assert fixed.final is not None
    assert fixed.final["baseline"]["recipe"]["batch_size"] == BASELINE.batch_size


def test_a_study_may_begin_from_any_recipe_and_is_still_compared_with_the_baseline(
    local_ray: None, common: list[str], tmp_path: Path
) -> None:
    (tmp_path / "start.json").write_text(json.dumps({"optimizer": "nesterov", "lr": 0.05, "momentum": 0.8}))
    flags = ["--recipe", str(tmp_path / "start.json"), "--samples", "2", "--final-epochs", "1"]
    assert run.main([*common, "--name", "started", *flags]) == 0
    started = results.load_run(Path(common[5]) / "started")
    assert (started.recipe(0)["lr"], started.recipe(0)["optimizer"]) == (0.05, "nesterov")
    assert started.recipe(1)["momentum"] == 0.8
    assert started.final is not None
    assert started.final["baseline"]["recipe"]["optimizer"] == "sgd"
    assert started.baseline == BASELINE.as_dict()


REFUSED = {
    "not a field": (["--fix", "learning_rate=1"], ["learning_rate"]),
    "not a value": (["--fix", "optimizer=adamax"], ["optimizer", "adamax"]),
    "not a pair": (["--fix", "lr"], ["--fix", "FIELD=VALUE"]),
    "out of the space's range": (["--fix", "lr=0.5"], ["small", "lr", "0.5", "0.001 to 0.2"]),
    "never used": (["--fix", "gamma=0.5"], ["--fix gamma", "schedule is 'constant'"]),
    "given twice": (["--fix", "flip=random", "--fix", "flip=none"], ["flip", "twice"]),
    "a flag of its own": (["--fix", "epochs=3"], ["--max-epochs"]),
    "nothing left": (["--fix", "lr=0.1", "--fix", "batch_size=16"], ["nothing left to vary"]),
    "no such recipe": (["--recipe", "nowhere.json"], ["nowhere.json", "baseline"]),
}


@pytest.mark.parametrize(("flags", "words"), REFUSED.values(), ids=REFUSED)
def test_a_fix_or_a_recipe_that_cannot_be_is_one_clear_line(
    common: list[str], flags: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.main([*common, "--name", "refused", *flags])
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.count("\n") == 1
    assert all(word in said for word in words)
    assert not (Path(common[5]) / "refused").exists()
