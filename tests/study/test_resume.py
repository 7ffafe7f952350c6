"""An interrupted study continues as if nothing had happened; a finished one can be extended; no meaning changes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock
from ray import tune
from stored_study import stored_trials

import results
import search_spaces
from benchmarks.chaos import without_times
from study import baseline, run
from study.data import CIFAR10, Split
from study.execution import trainable
from study.execution.trainable import EPOCH, WorkerSetup
from study.execution.trial_searcher import TrialSearcher
from study.pipeline.phases import search
from study.recipe import BASELINE
from study.search.optuna_study import OptunaStudy
from study.search.problem import SearchProblem
from study.search.schedulers import SCHEDULERS, SchedulerSettings
from study.storage.event_log import EventLog
from study.storage.store import Store
from study.training.loop import Training

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
def finished(local_ray: None, synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    """Six trials one after the other, and their final."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "mine.py").write_text(SPACE)
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(folder), "--name", "whole"]
    command += ["--space", f"{folder / 'mine.py'}:small", "--max-concurrent", "1", "--gpus-per-trial", "0"]
    # With this seed two of the trials are paused and promoted later.
    command += ["--seed", "1", "--sampler", "tpe", "--scheduler", "asha"]
    assert run.main([*command, "--samples", "6", "--max-epochs", "3", "--final-epochs", "2", "--quiet"]) == 0
    return results.load_run(folder / "whole")


def cut(finished: results.Run, path: Path, size: int) -> Path:
    """A copy of the run as if its driver had died when the record had `size` bytes."""
    shutil.copytree(finished.path, path, ignore=shutil.ignore_patterns("final", "ray", "best.json", "*.csv", "*.db"))
    record = path / "epochs.jsonl"
    record.write_bytes(record.read_bytes()[:size])
    study = json.loads((path / "study.json").read_text())
    (path / "study.json").write_text(json.dumps({**study, "status": "running", "test_openings": []}))
    return path


def sizes(finished: results.Run) -> dict[str, int]:
    """Where to cut: lengths of the record at moments that differ in what is left to do."""
    lines = (finished.path / "epochs.jsonl").read_bytes().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if json.loads(line)["event"] == "end"]
    before_an_end = sum(map(len, lines[: ends[2]]))
    return {
        "nothing but half of the first line": 10,
        "a trial suggested and not begun": sum(map(len, lines[: ends[1] + 2])),
        "a last epoch without its end": before_an_end,
        "an end cut off in mid-line": before_an_end + 20,
        "all trials ended": sum(map(len, lines)),
    }


CUTS = [
    "nothing but half of the first line", "a trial suggested and not begun", "a last epoch without its end",
    "an end cut off in mid-line", "all trials ended",
]  # fmt: skip


@pytest.mark.parametrize("moment", CUTS)
def test_wherever_it_was_cut_off_a_resumed_study_has_the_tables_of_an_uninterrupted_one(
    finished: results.Run, tmp_path: Path, moment: str
) -> None:
    path = cut(finished, tmp_path / "whole", sizes(finished)[moment])
    assert run.main(["--resume", str(path), "--quiet"]) == 0
    resumed = results.load_run(path)
    pd.testing.assert_frame_equal(without_times(resumed.trials), without_times(finished.trials))
    assert resumed.final is not None
    assert finished.final is not None
    assert resumed.final["winner"]["seeds"] == finished.final["winner"]["seeds"]
    assert json.loads((path / "best.json").read_text()) == json.loads((finished.path / "best.json").read_text())
    assert len(resumed.study["resumed"]) == 1
    numbers = [event["number"] for event in events(path) if event["event"] == "end"]
    assert sorted(numbers) == list(range(6))


def test_a_record_cut_at_any_byte_has_every_event_before_the_cut(finished: results.Run, tmp_path: Path) -> None:
    content = (finished.path / "epochs.jsonl").read_bytes()
    complete = [json.loads(line) for line in content.splitlines()]
    for size in range(len(content) + 1):
        (tmp_path / "epochs.jsonl").write_bytes(content[:size])
        with EventLog(tmp_path / "epochs.jsonl") as log:
            assert [event.to_json() for event in log.events] == complete[: content[:size].count(b"\n")]
        assert content.startswith((tmp_path / "epochs.jsonl").read_bytes())


def test_wherever_it_was_cut_off_what_comes_next_is_what_came_next(finished: results.Run, tmp_path: Path) -> None:
    """The next suggestion, or promotion, of a study rebuilt from the first lines of the event log."""
    past = events(finished.path)
    space = search_spaces.load(f"{finished.path.parent / 'mine.py'}:small")
    problem = SearchProblem(space, "small", BASELINE, 3, 1, sampler=finished.study["arguments"]["sampler"])
    for index, event in enumerate(past):
        if event["event"] not in ("trial", "promote"):
            continue
        lines = (finished.path / "epochs.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "epochs.jsonl").write_bytes(b"".join(lines[:index]))
        with EventLog(tmp_path / "epochs.jsonl") as log:
            scheduler = SCHEDULERS[finished.study["arguments"]["scheduler"]](
                SchedulerSettings(3, 6, finished.study["grace_period"], finished.study["reduction_factor"])
            )
            study = OptunaStudy(problem)
            for before in log.events:
                scheduler.apply(before)
                study.apply(before)
            log.add_listener(scheduler.apply)
            log.add_listener(study.apply)
            config = TrialSearcher(problem, log, study, scheduler, lambda number: number < 6).suggest("anything")
            assert config["number"] == event["number"]
            assert config["recipe"] == finished.recipe(event["number"])


def test_a_paused_trial_whose_state_made_room_is_trained_again_to_the_same_result(
    finished: results.Run, synthetic_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PAUSED_STATES", 0)
    again = ["--runs-dir", str(tmp_path), "--name", "one", "--data-dir", str(synthetic_dir), "--dataset", "synthetic"]
    again += ["--space", f"{finished.path.parent / 'mine.py'}:small", "--seed", "1", "--max-concurrent", "1"]
    again += ["--sampler", "tpe", "--scheduler", "asha"]
    again += ["--samples", "6", "--max-epochs", "3", "--final-epochs", "1", "--gpus-per-trial", "0", "--quiet"]
    assert run.main(again) == 0
    frugal = results.load_run(tmp_path / "one")
    assert "promote" in {event["event"] for event in events(frugal.path)}
    pd.testing.assert_frame_equal(without_times(frugal.trials), without_times(finished.trials))


def test_after_a_power_cut_nothing_but_the_record_is_needed(finished: results.Run, tmp_path: Path) -> None:
    path = cut(finished, tmp_path / "whole", sizes(finished)["a last epoch without its end"])
    for name in ("optuna.db", "best.json", "trials.csv", "trials.parquet", "report.html", "checkpoints/0.pt", "ray"):
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"\0" * 100)
    (path / "ray").unlink()
    (path / ".study.json.123").write_bytes(b'{"format"')
    assert run.main(["--resume", str(path), "--quiet"]) == 0
    resumed = results.load_run(path)
    pd.testing.assert_frame_equal(without_times(resumed.trials), without_times(finished.trials))
    assert pd.read_csv(path / "trials.csv").shape[0] == 6


@pytest.mark.parametrize("damage", ["none", "cut off", "a bit fell over"])
def test_a_training_continues_from_its_state_and_begins_again_where_that_is_damaged(
    synthetic: Split, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways it reports what an undisturbed training does."""
    recipe = BASELINE.with_fields({"channels": "4-8", "hidden": "32", "lr": 0.05, "epochs": 2, "batch_size": 64})
    loaded = list[int]()
    load = Training.load_state_dict
    monkeypatch.setattr(Training, "load_state_dict", lambda self, state: (loaded.append(1), load(self, state)))

    class Killed(Exception):
        pass

    def reports_of(folder: Path, last: int, recorded: int = 0) -> list[dict[str, Any]]:
        reports = list[dict[str, Any]]()

        def report(measured: dict[str, Any]) -> None:
            reports.append({name: value for name, value in measured.items() if name != "seconds"})
            if measured[EPOCH] == last:
                raise Killed

        monkeypatch.setattr(tune, "report", report)
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        setup = WorkerSetup(
            train=Split(synthetic.images[:500], synthetic.labels[:500]),
            validation=None,
            spec=CIFAR10,
            store=Store(str(folder)),
            checkpoint_epochs=(1,),
            keep_weights=False,
            threads=1,
            gpu=False,
        )
        with pytest.raises(Killed):
            trainable.train({"number": 0, "recipe": recipe.as_dict(), "recorded": recorded}, setup=setup)
        return reports

    undisturbed = reports_of(tmp_path / "calm", last=2)
    reports_of(tmp_path / "killed", last=1)
    state = tmp_path / "killed" / "checkpoints" / "0.pt"
    content = bytearray(state.read_bytes())
    if damage == "cut off":
        content = content[: len(content) // 2]
    if damage == "a bit fell over":
        content[len(content) // 2] ^= 1
    state.write_bytes(content)
    assert reports_of(tmp_path / "killed", last=2)[-1] == undisturbed[-1]
    assert len(loaded) == (damage == "none")


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "epochs.jsonl").read_text().splitlines()]


def copy(finished: results.Run, path: Path) -> Path:
    return Path(shutil.copytree(finished.path, path, ignore=shutil.ignore_patterns("ray")))


def test_a_finished_study_resumed_does_nothing_twice(finished: results.Run, tmp_path: Path) -> None:
    path = copy(finished, tmp_path / "whole")
    before = (path / "epochs.jsonl").read_bytes(), (path / "final" / "epochs.jsonl").read_bytes()
    assert run.main(["--resume", str(path), "--quiet"]) == 0
    assert ((path / "epochs.jsonl").read_bytes(), (path / "final" / "epochs.jsonl").read_bytes()) == before
    assert results.load_run(path).study["test_openings"] == finished.study["test_openings"]


def test_a_finished_study_grows_and_keeps_what_it_had(finished: results.Run, tmp_path: Path) -> None:
    path = copy(finished, tmp_path / "whole")
    assert run.main(["--resume", str(path), "--samples", "9", "--quiet"]) == 0
    grown = results.load_run(path)
    assert grown.trials.index.tolist() == list(range(9))
    pd.testing.assert_frame_equal(grown.trials.loc[:5], finished.trials, check_dtype=False)
    assert len(stored_trials(path / "optuna.db")) == 9
    openings = [(opening["role"], json.dumps(opening["recipe"])) for opening in grown.study["test_openings"]]
    assert len(openings) == len(set(openings))
    assert [role for role, _ in openings].count("baseline") == 1
    assert grown.final is not None
    assert grown.final["winner"]["recipe"]["lr"] == grown.recipe(int(results.best(grown).name))["lr"]  # type: ignore[call-overload]


REFUSED = {
    "another space": (["--space", "sgd"], ["--space", "small"]),
    "longer trials": (["--max-epochs", "9"], ["--max-epochs", "3"]),
    "another seed": (["--seed", "5"], ["--seed", "1"]),
    "something pinned": (["--fix", "flip=random"], ["--fix"]),
    "other data": (["--dataset", "cifar10"], ["--dataset", "synthetic"]),
    "fewer trials": (["--samples", "2"], ["--samples", "2", "6"]),
}


@pytest.mark.parametrize(("flags", "words"), REFUSED.values(), ids=REFUSED)
def test_what_a_study_means_cannot_change_when_it_is_resumed(
    finished: results.Run, flags: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished.path / "study.json").read_bytes()
    with pytest.raises(SystemExit) as exit_:
        run.main(["--resume", str(finished.path), *flags])
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said.count("\n") == 1
    assert all(word in said for word in words)
    assert (finished.path / "study.json").read_bytes() == before


def test_a_flag_that_repeats_what_was_is_no_change(finished: results.Run, tmp_path: Path) -> None:
    path = copy(finished, tmp_path / "whole")
    assert run.main(["--resume", str(path), "--max-epochs", "3", "--seed", "1", "--quiet"]) == 0


def test_a_second_process_is_refused_while_the_first_lives(
    finished: results.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(finished.path / ".lock"), pytest.raises(SystemExit) as exit_:
        run.main(["--resume", str(finished.path)])
    assert exit_.value.code == 2
    assert "another process" in capsys.readouterr().err


def test_a_space_that_was_edited_since_is_refused(
    finished: results.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy(finished, tmp_path / "whole")
    mine = finished.path.parent / "mine.py"
    mine.write_text(SPACE.replace("0.2", "0.3"))
    with pytest.raises(SystemExit) as exit_:
        run.main(["--resume", str(path)])
    mine.write_text(SPACE)
    assert exit_.value.code == 2
    assert "has changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (
            "epochs.jsonl",
            b'{"event": "trial", "number": 0, "config": {}, "seed": 0, "time": 1.0}\nnonsense\n{}\n',
            "line 2 is damaged",
        ),
        ("study.json", b'{"format": 1, "na', "study.json is damaged"),
        ("study.json", None, "it has no study.json"),
    ],
)
def test_a_damaged_record_is_refused_in_one_line(
    finished: results.Run, tmp_path: Path, file: str, content: bytes | None, words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = copy(finished, tmp_path / "whole")
    (path / file).unlink() if content is None else (path / file).write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        run.main(["--resume", str(path), "--quiet"])
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert words in said
    assert said.count("\n") == 1


def test_a_warm_start_gives_the_searcher_the_other_studys_finished_trials(
    finished: results.Run, synthetic_dir: Path
) -> None:
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(finished.path.parent)]
    command += ["--space", f"{finished.path.parent / 'mine.py'}:small", "--max-concurrent", "1", "--quiet"]
    command += ["--samples", "2", "--max-epochs", "3", "--final-epochs", "1", "--gpus-per-trial", "0", "--name", "warm"]
    assert run.main([*command, "--warm-start", str(finished.path)]) == 0
    warm = results.load_run(finished.path.parent / "warm")
    assert warm.trials.index.tolist() == [0, 1]
    stored = stored_trials(warm.path / "optuna.db")
    known = [trial for number, trial in zip(finished.trials.index, stored, strict=False) if number]
    assert len(stored) == 6 + 2
    assert [trial.params["lr"] for trial in known] == finished.trials["config/lr"].tolist()[1:]
    assert [len(trial.intermediate_values) for trial in known] == finished.trials["epochs"].tolist()[1:]


def test_a_warm_start_of_another_length_says_nothing_to_a_sampler_without_priors(
    finished: results.Run, synthetic_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(tmp_path)]
    with pytest.raises(SystemExit) as exit_:
        run.main([*command, "--warm-start", str(finished.path), "--sampler", "tpe"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert "no finished trial of this data set, --metric accuracy, --max-epochs 10 and space" in said
    assert "--sampler prior" in said


@pytest.fixture(scope="module")
def reproduced(local_ray: None, synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    """A small recipe over two seeds, without a search."""
    folder = tmp_path_factory.mktemp("baseline")
    fields = {"channels": "4-8", "hidden": "32", "lr": 0.05, "epochs": 2}
    (folder / "mine.json").write_text(json.dumps(BASELINE.with_fields(fields).as_dict()))
    command = ["--dataset", "synthetic", "--data-dir", str(synthetic_dir), "--runs-dir", str(folder), "--name", "seeds"]
    command += ["--recipe", str(folder / "mine.json"), "--seeds", "2", "--gpus-per-trial", "0", "--max-concurrent", "1"]
    assert baseline.main(command) == 0
    return results.load_run(folder / "seeds")


def without_costs(side: dict[str, Any]) -> dict[str, Any]:
    """`side` of a final without what its network costs, which includes measured latencies."""
    return {name: value for name, value in side.items() if name != "costs"}


def test_a_baseline_run_cut_off_in_mid_training_ends_as_the_uninterrupted_one(
    reproduced: results.Run, tmp_path: Path
) -> None:
    path = tmp_path / "seeds"
    shutil.copytree(
        reproduced.path, path, ignore=shutil.ignore_patterns("ray", "metrics.json", "probabilities", "*.pt")
    )
    record = path / "final" / "epochs.jsonl"
    record.write_bytes(record.read_bytes()[: record.stat().st_size // 2])
    study = json.loads((path / "study.json").read_text())
    (path / "study.json").write_text(json.dumps({**study, "status": "running", "test_openings": []}))
    assert baseline.main(["--resume", str(path)]) == 0
    resumed = results.load_run(path)
    assert resumed.final is not None
    assert reproduced.final is not None
    assert without_costs(resumed.final["recipe_under_test"]) == without_costs(reproduced.final["recipe_under_test"])
    assert len(resumed.study["test_openings"]) == 2


def test_a_baseline_run_is_given_more_seeds_and_keeps_what_it_had(reproduced: results.Run, tmp_path: Path) -> None:
    path = copy(reproduced, tmp_path / "seeds")
    assert baseline.main(["--resume", str(path), "--seeds", "3"]) == 0
    grown = results.load_run(path)
    assert grown.final is not None
    assert reproduced.final is not None
    seeds = grown.final["recipe_under_test"]["seeds"]
    assert len(seeds) == 3
    assert seeds[:2] == reproduced.final["recipe_under_test"]["seeds"]
    assert len(grown.study["test_openings"]) == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "5"], ["--epochs"]),
        (["--recipe", "fast"], ["--recipe", "mine.json"]),
        (["--seeds", "1"], ["--seeds", "2"]),
    ],
)
def test_what_a_baseline_run_means_cannot_change_when_it_is_resumed(
    reproduced: results.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    path = copy(reproduced, tmp_path / "seeds")
    with pytest.raises(SystemExit) as stop:
        baseline.main(["--resume", str(path), *flags])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert all(word in said for word in words)


def test_each_program_resumes_its_own_runs_only(
    finished: results.Run, reproduced: results.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for main, other in ((baseline.main, finished), (run.main, reproduced)):
        with pytest.raises(SystemExit) as stop:
            main(["--resume", str(other.path)])
        assert stop.value.code == 2
        assert f"{other.path} is not a run of this command" in capsys.readouterr().err
