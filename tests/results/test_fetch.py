"""A run comes here from where a cluster wrote it."""

from pathlib import Path

import pandas as pd
import pytest
from made_run import SOUND_HYPERPARAMETERS, made_run, sound

import results
from results.__main__ import main
from results.fetch import fetch
from study.storage.store import Store


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run in a folder, with what a store holds besides."""
    path = made_run(tmp_path / "store" / "one", sound(), SOUND_HYPERPARAMETERS).path
    for name in ("checkpoints/3.pt", "ray/trials/a", "final/7.pt", "final/model.pt", ".lock"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x")
    return path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_fetched_run_has_the_records_and_the_tables_of_the_stored_one(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", str(stored), "--runs-dir", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "runs" / "one")
    fetched = results.load_run(tmp_path / "runs" / "one")
    pd.testing.assert_frame_equal(fetched.trials, results.load_run(stored).trials)
    extra = {"checkpoints/3.pt", "ray/trials/a", "final/7.pt", ".lock"}
    assert files(fetched.path) == files(stored) - extra


@pytest.mark.network
def test_a_run_is_fetched_from_an_object_store(stored: Path, tmp_path: Path, bucket: str) -> None:
    store = Store(bucket).below("fetched")
    for name in files(stored):
        store.write(name, (stored / name).read_bytes())
    fetched = fetch(store.location, tmp_path / "runs")
    pd.testing.assert_frame_equal(results.load_run(fetched).trials, results.load_run(stored).trials)


@pytest.mark.parametrize("kind", ["no run", "no such store", "there already"])
def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(
    kind: str, stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    url = {"no run": str(tmp_path / "store"), "no such store": "ftp://host/one", "there already": str(stored)}[kind]
    if kind == "there already":
        fetch(str(stored), runs)
    before = files(runs)
    assert main(["fetch", url, "--runs-dir", str(runs)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert {"no run": "holds no run", "no such store": "ftp", "there already": "is there already"}[kind] in said
    assert files(runs) == before
