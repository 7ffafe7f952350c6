"""The phase that looks at the images before the search: what it writes, once, and that a study can do without."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from results import schema
from study import data
from study.data import DataOptions, checks
from study.execution.interruption import Interruption
from study.pipeline.phases.check_images import CheckImages


@pytest.fixture
def context(tmp_path: Path) -> Any:
    """All of a RunContext that the phase uses."""
    lines: list[str] = []
    return SimpleNamespace(
        run_dir=tmp_path,
        dataset=data.load("digits", DataOptions(tmp_path / "data_dir")),
        output=SimpleNamespace(say=lines.append),
        interruption=Interruption(),
        lines=lines,
    )


def test_data_json_is_what_results_reads_and_the_contact_sheet_has_a_row_a_class(context: Any) -> None:
    CheckImages().run(context)
    found = schema.read(context.run_dir / "data.json", schema.DataFile)
    assert {part: sum(of_class.values()) for part, of_class in found["counts"].items()} == {
        "training": 811, "validation": 87, "test": 899,
    }  # fmt: skip
    assert found["leaks"]["tests"] == 899
    with Image.open(context.run_dir / found["pictures"][0]["file"]) as sheet:
        assert sheet.height == 10 * 66
    assert context.lines == []


def test_what_a_run_has_is_not_searched_for_again(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (context.run_dir / "data.json").write_text("{}")
    monkeypatch.setattr(checks, "inspect", None)
    CheckImages().run(context)
    assert json.loads((context.run_dir / "data.json").read_text()) == {}
    assert context.lines == []


def test_a_check_that_fails_costs_one_warning(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError("no more\nmemory")

    monkeypatch.setattr(checks, "inspect", fail)
    CheckImages().run(context)
    assert context.lines == ["warning: the images could not be checked (MemoryError: no more memory)"]
    assert not (context.run_dir / "data.json").exists()


def test_in_very_many_images_only_equal_ones_are_searched_for(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.pipeline.phases.check_images.MOST_SEARCHED", 1796)
    CheckImages().run(context)
    assert json.loads((context.run_dir / "data.json").read_text())["searched_for_near_duplicates"] is False
