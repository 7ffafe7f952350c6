"""Damaged and hostile run directories: each is one clear line, within bounded time, never a traceback."""

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from made_run import MadeTrial, made_final, made_run
from optuna.distributions import CategoricalDistribution, FloatDistribution

import results
from benchmarks.fuzz import DEEP, fuzz, mutated
from results import schema
from results.__main__ import main
from results.events import Event
from results.formatting import on_one_line

HYPERPARAMETERS = {"lr": FloatDistribution(1e-4, 1.0, log=True), "batch_size": CategoricalDistribution([32, 64])}
TRIALS = [MadeTrial({"lr": 0.1, "batch_size": 32}, [0.3, 0.5]), MadeTrial({"lr": 0.2}, [0.2], "stopped", "rung 1")]


@pytest.fixture
def run(tmp_path: Path) -> results.Run:
    return made_run(tmp_path / "made", TRIALS, HYPERPARAMETERS, final=made_final(), correct={"winner": [True] * 9})


def in_time(seconds: float, work: Callable[[], None]) -> None:
    begun = time.process_time()
    work()
    assert time.process_time() - begun < seconds


def test_ten_thousand_mutated_events_are_read_or_named(run: results.Run) -> None:
    chance = random.Random(0)
    lines = [json.loads(line) for line in (run.path / "epochs.jsonl").read_text().splitlines()]

    def read() -> None:
        for _ in range(10_000):
            text = json.dumps(mutated(chance.choice(lines), chance)).encode()
            with suppress(schema.SchemaError):
                assert isinstance(schema.read_event(text, ()), Event)

    in_time(60, read)


def test_mutated_recipes_and_studies_are_read_or_refused_in_a_line_and_none_hangs(run: results.Run) -> None:
    found, slowest = fuzz(run.path, 400)
    assert {said for outcomes in found.values() for said in outcomes} == {"read", "refused"}
    assert all(set(outcomes) == {"read", "refused"} for outcomes in found.values())
    assert slowest < 30


def loaded(path: Path) -> str:
    """Why the run cannot be loaded, in a line; "" if it can."""
    try:
        results.load_run(path)
    except results.RunError as error:
        return " ".join(str(error).splitlines())
    return ""


@pytest.mark.parametrize("name", ["study.json", "final/metrics.json"])
def test_mutated_files_are_shown_or_refused_in_a_line(run: results.Run, name: str, tmp_path: Path) -> None:
    chance = random.Random(1)
    content = json.loads((run.path / name).read_text())

    def read() -> None:
        for _ in range(200):
            (run.path / name).write_text(json.dumps(mutated(content, chance)))
            assert len(loaded(run.path)) < 1_000

    in_time(200, read)


@pytest.mark.parametrize("name", ["study.json", "epochs.jsonl", "final/metrics.json"])
def test_show_and_list_survive_mutated_files(run: results.Run, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(2)
    text = (run.path / name).read_text()
    parts = [json.loads(line) for line in text.splitlines()] if name == "epochs.jsonl" else json.loads(text)
    for _ in range(20):
        changed = mutated(parts, chance)
        lines = [json.dumps(line) for line in changed] if name == "epochs.jsonl" else [json.dumps(changed)]
        (run.path / name).write_text("\n".join(lines))
        assert main(["show", str(run.path)]) in (0, 2)
        assert main(["list", str(run.path.parent)]) == 0
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err


@pytest.mark.parametrize("content", [DEEP, '{"format": 1, "a": ' + DEEP + "}", "\x00", "9" * 5_000, '{"format": 1'])
def test_one_broken_run_does_not_hide_the_others(
    run: results.Run, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = run.path.parent / "broken"
    broken.mkdir()
    (broken / "study.json").write_text(content)
    assert main(["list", str(run.path.parent)]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert sorted("unreadable" in line for line in lines) == [False, True]
    with pytest.raises(results.RunError) as error:
        results.load_run(broken)
    assert "\n" not in str(error.value)


def test_a_deeply_nested_event_is_left_out_and_named(run: results.Run) -> None:
    with (run.path / "epochs.jsonl").open("a") as log:
        log.write(DEEP + "\n")
    [line] = results.load_run(run.path).dropped
    assert line.endswith("is damaged: it is nested too deeply")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("seed", -1, "has -1 as seed"),
        ("seed", "0", "has '0' as seed"),
        ("max_epochs", 1e3, "has 1000.0 as max_epochs"),
        ("base", [], "has [] as base"),
        ("status", "gone", "has 'gone' as status"),
        ("metric", {"name": "f1", "mode": "up"}, "as metric/mode"),
        ("metric", {"name": "f1", "mode": "max", "format": "{:1000000000}"}, "as metric/format"),
    ],
)
def test_a_wrong_value_in_study_json_is_named_with_its_place(
    run: results.Run, key: str, value: Any, words: str
) -> None:
    content = json.loads((run.path / "study.json").read_text())
    (run.path / "study.json").write_text(json.dumps({**content, key: value}))
    with pytest.raises(results.RunError) as error:
        results.load_run(run.path)
    assert words in str(error.value)


def test_a_number_that_is_not_finite_is_refused_in_study_json_and_unmeasured_in_an_epoch(run: results.Run) -> None:
    log = run.path / "epochs.jsonl"
    log.write_text(log.read_text().replace('"val_loss": 1.0', '"val_loss": NaN', 1))
    read = results.load_run(run.path)
    assert read.dropped == ()
    assert read.epochs["val_loss"].isna().tolist() == [True, False, False]
    study = run.path / "study.json"
    study.write_text(study.read_text().replace('"samples": 2', '"samples": 1e999'))
    with pytest.raises(results.RunError, match="it holds 1e999"):
        results.load_run(run.path)


def test_text_of_a_run_never_reaches_the_terminal_as_a_control_character(
    run: results.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202e"
    content = json.loads((run.path / "study.json").read_text())
    (run.path / "study.json").write_text(json.dumps({**content, "status": "failed", "reason": evil, "space": evil}))
    log = run.path / "epochs.jsonl"
    log.write_text(log.read_text().replace('"rung 1"', json.dumps(evil)))
    for command in (["show", str(run.path)], ["list", str(run.path.parent)]):
        assert main(command) == 0
    said = capsys.readouterr().out
    assert on_one_line(evil) in said
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)
