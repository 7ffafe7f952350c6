"""docs/own-images.md does what it shows: its Python runs, and its first command, on a folder made here."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.data import Dataset
from study.data.__main__ import main

PAGE = Path(__file__).parents[3] / "docs" / "own-images.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (80, 100, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)
    return "photos"


def test_the_python_on_the_page_runs(folder: str) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    images, labels = np.zeros((20, 12, 12, 3), np.uint8), np.arange(20) % 2
    names = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    loaded: list[Dataset] = []
    for block in code.replace("PATH", folder).split("\n\n")[1].splitlines():
        exec(f"from study import data\n{block}", names)  # type: ignore[arg-type]
        loaded.append(names["dataset"])  # type: ignore[arg-type]
    assert [each.class_names for each in loaded] == [("cat", "dog"), ("cat", "dog")]
    assert [(each.spec.height, each.spec.width) for each in loaded] == [(64, 64), (12, 12)]


def test_the_first_command_on_the_page_says_what_is_in_the_folder(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = re.findall(r"^python -m study\.data PATH", PAGE.read_text(), re.MULTILINE)[0]
    assert main([folder if word == "PATH" else word for word in command.split()[3:]]) == 0
    printed = capsys.readouterr().out
    assert "photos: 2 classes, 64 x 64 pixels, RGB" in printed
    assert "8 of 40 are set aside and sealed (test_share 0.2, split_seed 10)" in printed
    assert "Test images that are also in training, equal or nearly: 0 of 8 (0.00%)" in printed
    assert Path("data/pictures/photos/classes.png").is_file()
