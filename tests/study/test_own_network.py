"""docs/own-network.md, command by command: a network of one's own is tuned, killed, resumed, replayed and exported."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from driver import events, wait_until
from sklearn.datasets import load_digits

import results
import study

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-network.md").read_text()
# What the page's command has, and what makes it a test's.
SMALLER = {"--samples 20": "--samples 4", "--max-epochs 20": "--max-epochs 2", "--final-epochs 40": "--final-epochs 1"}
SMALLER |= {"--seeds 3": "--seeds 1 --epochs 1"}
FEW = ["--gpus-per-trial", "0", "--max-concurrent", "1", "--progress", "plain"]


def command(module: str, containing: str = "") -> list[str]:
    """The page's command of a module, with smaller numbers."""
    lines = re.findall(rf"^python -m {re.escape(module)} .*$", PAGE, re.MULTILINE)
    [line] = [each for each in lines if containing in each]
    for large, small in SMALLER.items():
        line = line.replace(large, small)
    return [sys.executable, *shlex.split(line)[1:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout as the page's reader has it, with an empty runs/."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    state = tmp_path_factory.mktemp("state")
    return {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state), "OMP_NUM_THREADS": "1"}


def ran(line: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_every_command_of_the_page_does_what_the_page_says(
    folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.Popen(
        [*command("study.run", "--model"), *FEW],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    log = folder / "runs" / "vit" / "epochs.jsonl"
    wait_until(lambda: any(each["event"] == "epoch" for each in events(log)), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    said, _ = killed.communicate()
    assert "ignores channels, kernel, padding, hidden, batch_norm, dropout" in said
    before = events(log)

    # The file may be gone meanwhile: the copy in the run has the same name in all its records.
    (folder / "docs").rename(folder / "elsewhere")
    assert "the copy in the run is used" in ran(command("study.run", "--resume"), folder, environment)
    (folder / "elsewhere").rename(folder / "docs")
    assert events(log)[: len(before)] == before
    run = results.load_run(folder / "runs" / "vit")
    assert run.status == "finished"
    assert len(run.trials) == 4
    assert run.verdict in ("better", "worse", "no evidence")
    assert {"config/model.depth", "config/model.width", "config/model.heads", "config/lr", "config/translate"} <= set(
        run.trials
    )
    assert run.best_recipe is not None
    assert len({run.recipe(number)["model"] for number in run.trials.index}) == 1
    assert run.best_recipe["model"].endswith("vit.py:ViT")
    assert run.trials["parameters"].notna().all()
    assert len(results.plots.accuracy_against_cost(run, cost="multiply_adds").data) == 2

    assert "The same to the last bit" in ran(command("study.replay"), folder, environment)
    ran([*command("study.baseline"), *FEW], folder, environment)
    assert results.load_run(folder / "runs" / "vit-seeds").final is not None

    assert "the same class for 256" in ran(command("study.export"), folder, environment)
    monkeypatch.setenv("XDG_STATE_HOME", environment["XDG_STATE_HOME"])
    monkeypatch.chdir(folder)
    winner = study.load_winner("runs/vit")
    images = np.rint(load_digits().images[:300, :, :, None] * (255 / 16)).astype(np.uint8)
    session = onnxruntime.InferenceSession("runs/vit/final/winner.onnx")
    [probabilities] = session.run(None, {"images": images})
    assert np.allclose(probabilities, winner.predict_proba(images), atol=1e-5)
    assert (probabilities.argmax(1) == winner.predict_proba(images).argmax(1)).all()
