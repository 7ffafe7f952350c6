"""The notebooks run: the one on results from its first cell to its last, the one for Colab as far as a test can see."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import reported_run
from nbclient import NotebookClient

from study.command_line import flag_of, given_settings, parser_of
from study.config import StudyConfig, validate

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
COLAB = nbformat.read(NOTEBOOKS / "colab.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def cells(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_the_notebook_on_results_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    reported_run.search(tmp_path / "runs" / "made", 18)
    here = tmp_path / "notebooks"
    here.mkdir()
    notebook = nbformat.read(NOTEBOOKS / "analyze_results.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(here)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs) >= 6
    warned = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert [text for text in warned if "TqdmWarning" not in text] == []  # tqdm wishes for ipywidgets, which none needs
    assert (tmp_path / "runs" / "made" / "report.html").exists()


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_the_colab_notebooks_python_can_be_parsed() -> None:
    for source in cells(COLAB):
        ast.parse("\n".join(line for line in source.splitlines() if not line.startswith(("!", "%"))))


def test_the_colab_notebook_gives_flags_that_the_study_has() -> None:
    commands = re.findall(r"^!python -m study\.run (.*)$", "\n".join(cells(COLAB)), re.MULTILINE)
    assert commands
    for command in commands:
        given = given_settings(parser_of(StudyConfig, "study.run", ""), command.split())
        config = validate(StudyConfig, given, flag_of)
        assert config.samples == 20
        assert config.gpus_per_trial == 0.25


def test_the_colab_notebook_promises_no_measurement() -> None:
    assert "has not been measured on a GPU" in COLAB.cells[0].source
