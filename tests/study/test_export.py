import json
import pickletools
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finished_run import CLASSES, RECIPE, FinishedRun, finished_run
from torch import Tensor, nn

from study.errors import ModelError, UsageError
from study.export import FORMATS, export, main, random_images
from study.winner.model import load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return finished_run(tmp_path_factory.mktemp("runs") / "colours")


def test_an_onnx_file_gives_the_same_probabilities_for_any_batch_size(run: FinishedRun, tmp_path: Path) -> None:
    import onnxruntime

    file = tmp_path / "winner.onnx"
    exported = export(load(run.path), "onnx", file)
    assert exported.largest_difference < 1e-5
    assert exported.same_class == exported.images
    assert exported.file_bytes == file.stat().st_size
    assert 0 < exported.seconds_batch_1 < exported.seconds_batch_64
    session = onnxruntime.InferenceSession(file)
    for number in (1, 3, 60):
        [found] = session.run(None, {"images": run.test.images[:number]})
        assert np.allclose(found, run.probabilities[:number], atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(CLASSES)


def test_a_torch_export_gives_the_same_probabilities_and_is_not_pickled(run: FinishedRun, tmp_path: Path) -> None:
    file = tmp_path / "winner.pt2"
    exported = export(load(run.path), "torch-export", file)
    assert exported.largest_difference < 1e-6
    extra = {"classes.json": ""}
    program = torch.export.load(file, extra_files=extra)
    for number in (1, 5):
        found = program.module()(torch.from_numpy(run.test.images[:number]))
        assert np.allclose(found.detach().numpy(), run.probabilities[:number], atol=1e-6)
    assert json.loads(extra["classes.json"]) == list(CLASSES)
    with zipfile.ZipFile(file) as archive:
        assert not [name for name in archive.namelist() if _is_pickled(archive.read(name))]


def _is_pickled(content: bytes) -> bool:
    """As torch.save writes it, or bare."""
    if content.startswith(b"PK"):
        return True
    try:
        return len(content) > 2 and content[:1] == b"\x80" and bool(list(pickletools.genops(content)))
    except ValueError:
        return False


def test_safetensors_hold_the_weights_and_what_the_network_is(run: FinishedRun, tmp_path: Path) -> None:
    from safetensors import safe_open

    file = tmp_path / "winner.safetensors"
    winner = load(run.path)
    assert export(winner, "safetensors", file).largest_difference == 0
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        for name, tensor in winner.module.network.state_dict().items():
            assert torch.equal(opened.get_tensor(name), tensor)
    assert json.loads(metadata["recipe"]) == winner.recipe.as_dict()
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert json.loads(metadata["spec"])["height"] == 12


def test_the_winner_is_unchanged_by_an_export(run: FinishedRun, tmp_path: Path) -> None:
    winner = load(run.path)
    for name, format in FORMATS.items():
        export(winner, name, tmp_path / f"winner{format.suffix}")
    assert np.array_equal(winner.predict_proba(run.test.images), run.probabilities)


def test_random_images_are_like_those_of_the_data_set(run: FinishedRun) -> None:
    winner = load(run.path)
    images = random_images(winner, 500)
    assert (images.shape, images.dtype) == ((500, 12, 12, 3), np.uint8)
    assert np.allclose(images.mean((0, 1, 2)) / 255, winner.spec.mean, atol=0.02)
    assert np.array_equal(images[:5], random_images(winner, 500)[:5])


def test_the_command_prints_difference_size_and_time(run: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.path), "--format", "safetensors"]) == 0
    out = capsys.readouterr().out
    file = run.path / "final" / "winner.safetensors"
    assert out.startswith(f"{file}: safetensors, {file.stat().st_size:,} bytes\n")
    assert "largest difference of a probability from the original, over 256 random images: 0.0e+00; the same" in out
    assert re.search(r"threads?: \d+\.\d\d ms for 1 image, \d+\.\d\d ms for 64", out)


def test_a_network_evaluated_in_bfloat16_is_exported_in_float32_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "colours", RECIPE.with_fields({"precision": "bfloat16"}))
    assert main([str(run.path), "--format", "safetensors"]) == 0
    assert "evaluated in bfloat16, the file computes in float32: largest difference between them" in (
        capsys.readouterr().out
    )


class Bessel(nn.Module):
    """ONNX has no Bessel functions."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.special.bessel_j0(images).flatten(1)[:, :3]


class Undecided(nn.Module):
    """Which way it goes depends on the values."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3] if images.sum() > 0 else images.flatten(1)[:, 3:6]


@pytest.mark.parametrize(
    ("network", "format", "message"),
    [
        (Bessel(), "onnx", r"cannot be exported to onnx: it has no equivalent of the operator prims\.bessel_j0$"),
        (Undecided(), "onnx", "cannot be exported to onnx: Could not guard on data-dependent expression"),
        (Undecided(), "torch-export", "cannot be exported to torch-export: Could not guard on data-dependent"),
    ],
)
def test_what_cannot_be_exported_says_why_in_one_line(
    run: FinishedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str], network: nn.Module, format: str, message: str
) -> None:
    winner = load(run.path)
    winner.module.network = network
    with pytest.raises(ModelError, match=message) as error:
        export(winner, format, tmp_path / "winner")
    assert "\n" not in str(error.value)
    assert "".join(capfd.readouterr()) == ""
    assert not (tmp_path / "winner").exists()


def test_a_file_that_predicts_otherwise_is_refused(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(FORMATS["onnx"], read=lambda *_: lambda images: np.full((len(images), 3), 1 / 3, np.float32))
    monkeypatch.setitem(FORMATS, "onnx", wrong)
    with pytest.raises(ModelError, match="as onnx the winner predicts otherwise: a probability differs by 0"):
        export(load(run.path), "onnx", tmp_path / "winner.onnx")
    assert not (tmp_path / "winner.onnx").exists()


def test_a_file_that_cannot_be_written_is_refused(run: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/winner cannot be written: No such file or directory"):
        export(load(run.path), "safetensors", tmp_path / "nowhere" / "winner")


def test_a_missing_package_is_named_before_anything_is_trained(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("study.export.find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(UsageError, match="format onnx needs onnxruntime; pip install onnxruntime"):
        export(load(run.path), "onnx", tmp_path / "winner.onnx")
    with pytest.raises(SystemExit) as ended:
        main([str(run.path), "--format", "onnx", "--calibrate"])
    assert ended.value.code == 2
    assert "epoch" not in capsys.readouterr().err
