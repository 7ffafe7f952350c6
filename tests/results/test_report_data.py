"""The report's section about the images, and what the terminal says of leaks: from the run's data.json."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from made_run import SOUND_HYPERPARAMETERS, made_run, sound
from PIL import Image
from rich.console import Console

from results import Run, load_run
from results.report import render
from results.show import show

FOUND = {
    "counts": {
        "training": {"cat": 900, "<dog>": 100},
        "validation": {"cat": 90, "<dog>": 10},
        "test": {"cat": 90, "<dog>": 10},
    },
    "findings": [{"name": "equal images in training", "count": 4, "evidence": "in 2 groups (such as <a.png> = b.png)"}],
    "leaks": {"count": 3, "tests": 100, "equal": 1, "other_label": 1},
    "pictures": [{"file": "data/classes.png", "title": "Training images of each class"}],
}


def run_with(path: Path, content: dict[str, Any] | None) -> Run:
    made_run(path, sound(), SOUND_HYPERPARAMETERS)
    if content is not None:
        (path / "data.json").write_text(json.dumps(content))
        (path / "data").mkdir()
        Image.new("RGB", (300, 90), "red").save(path / "data" / "classes.png")
    return load_run(path)


def shown(run: Run) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show(run, console)
    return console.export_text()


def test_the_section_has_the_counts_by_class_and_split_the_findings_and_the_contact_sheet(tmp_path: Path) -> None:
    page = render(run_with(tmp_path / "run", FOUND))
    section = page[page.index('<section id="data">') :].partition("</section>")[0]
    assert '<td class="text">cat</td><td class="number">900</td>' in section
    assert '<td class="text">all</td><td class="number">1,000</td>' in section
    assert '<td class="text">equal images in training</td><td class="number">4</td>' in section
    picture = base64.b64encode((tmp_path / "run" / "data" / "classes.png").read_bytes()).decode()
    assert f'src="data:image/png;base64,{picture}"' in section
    assert "&lt;dog&gt;" in section
    assert "<dog>" not in page


def test_a_run_that_did_not_look_at_its_images_has_no_such_section(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", None)
    assert '<section id="data">' not in render(run)
    assert "Leaks" not in shown(run)


def test_images_with_which_nothing_is_wrong_are_said_to_be_so(tmp_path: Path) -> None:
    page = render(run_with(tmp_path / "run", {"counts": FOUND["counts"], "findings": []}))
    assert "Nothing was found to be wrong with the images." in page


def test_the_terminal_says_leaks_in_one_line(tmp_path: Path) -> None:
    lines = [line for line in shown(run_with(tmp_path / "run", FOUND)).splitlines() if "Leaks" in line]
    assert lines == ["Leaks: 3 of 100 test images (3.0%) are also in training, equal or nearly."]


@pytest.mark.parametrize("file", ["../secret.png", "/etc/passwd", "data/../../secret.png", "data/a/b.png"])
def test_a_picture_outside_the_runs_own_folder_is_never_read(tmp_path: Path, file: str) -> None:
    run = run_with(tmp_path / "run", {**FOUND, "pictures": [{"file": file, "title": "mine"}]})
    assert run.data is None
    assert run.dropped[0].startswith("data.json is damaged: it has")


def test_a_link_or_a_file_that_is_no_png_is_left_out(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", FOUND)
    picture = tmp_path / "run" / "data" / "classes.png"
    picture.write_text("no picture")
    assert '<img class="sheet"' not in render(run)
    picture.unlink()
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    picture.symlink_to(tmp_path / "secret.png")
    assert '<img class="sheet"' not in render(run)
