"""A run by its name, wherever the command is given."""

from pathlib import Path

import pytest

from study.pipeline.find_run import find_run


def test_a_folder_of_the_runs_name_is_not_the_run_and_a_run_here_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("runs/flowers", "runs/birds", "flowers", "birds"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/flowers", "runs/birds", "birds"):
        (tmp_path / name / "study.json").touch()
    monkeypatch.chdir(tmp_path)
    assert find_run("flowers", Path("runs")) == Path("runs/flowers")
    assert find_run("birds", Path("runs")) == Path("birds")
