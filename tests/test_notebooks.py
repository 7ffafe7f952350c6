"""The notebooks run from their first cell to their last. The one for Colab gets a wheel and a small study."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import reported_run
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import results

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
# Of a small study, in place of what the Colab notebook has.
SMALL = {"DATASET": "digits", "SAMPLES": 2, "FINAL_EPOCHS": 2}


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def execute(notebook: nbformat.NotebookNode, here: Path) -> list[Any]:
    """The outputs of all cells, executed in the folder `here`; what is printed as an error is an error."""
    here.mkdir(exist_ok=True)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(here)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    warned = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert [text for text in warned if "TqdmWarning" not in text] == []  # tqdm wishes for ipywidgets, which none needs
    return outputs


def text(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.slow
def test_the_notebook_on_results_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    reported_run.search(tmp_path / "runs" / "made", 18)
    outputs = execute(read("analyze_results"), tmp_path / "notebooks")
    assert sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs) >= 6
    assert (tmp_path / "runs" / "made" / "report.html").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_the_quickstart_notebook_shows_live_progress_a_verdict_and_predictions(tmp_path: Path) -> None:
    outputs = execute(read("quickstart"), tmp_path)
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs)
    (run,) = results.load_runs(tmp_path / "runs")
    assert run.final is not None
    shown = text(outputs)
    assert run.final["sentence"] in shown
    predicted, true = ([*line.split()[1:]] for line in shown.splitlines() if line.startswith(("predicted", "true")))
    assert len(predicted) == len(true) == 8


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.network
def test_the_colab_notebook_installs_a_study_and_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    installed.mkdir()  # Python looks only once for a folder of PYTHONPATH that is not there
    for name, value in {"PIP_TARGET": str(installed), "PIP_NO_DEPS": "1", "PYTHONPATH": str(installed)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    notebook = read("colab")
    settings = next(cell for cell in notebook.cells if cell.source.startswith("SOURCE"))
    settings.source += "".join(f"\n{name} = {value!r}" for name, value in {"SOURCE": str(wheel), **SMALL}.items())
    execute(notebook, tmp_path / "content")
    run = results.load(tmp_path / "content" / "runs" / "colab")
    assert (run.study["dataset"], len(run.trials), run.status) == ("digits", 2, "finished")
    assert (installed / "study" / "run.py").exists()
    assert (tmp_path / "content" / "colab-run.zip").exists()


@pytest.mark.slow
def test_the_colab_notebook_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        CellExecutionError, match=r"SystemExit.*SOURCE is empty: put the path of an uploaded wheel there"
    ):
        execute(read("colab"), tmp_path)


def test_the_colab_notebook_promises_no_measurement() -> None:
    assert "has not been measured on a GPU" in read("colab").cells[0].source


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = read(path.stem)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
