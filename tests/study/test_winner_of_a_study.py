"""From a study to its winner in use, with nothing made by hand."""

import csv
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import results
import study
from results.calibration import at_temperature
from study import export, predict


@pytest.fixture(scope="module")
def run(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    folder = tmp_path_factory.mktemp("digits")
    return study.tune(
        dataset="digits",
        samples=2,
        max_epochs=2,
        final_epochs=2,
        data_dir=folder / "data",
        runs_dir=folder / "runs",
        name="digits",
        gpus_per_trial=0,
        max_concurrent=1,
        quiet=True,
    )


def test_the_winner_of_a_study_predicts_exports_and_has_a_card(
    run: results.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    winner = study.load_winner(run)
    spec = winner.spec
    images = np.random.RandomState(0).randint(0, 256, (20, spec.height, spec.width, spec.channels)).astype(np.uint8)
    probabilities = winner.predict_proba(images)
    assert probabilities.shape == (20, 10)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)

    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[..., 0] if spec.channels == 1 else image).save(path)
    capsys.readouterr()
    assert predict.main([str(run.path), *map(str, paths)]) == 0
    rows = list(csv.DictReader(StringIO(capsys.readouterr().out)))
    assert [row["class"] for row in rows] == winner.predict(images).tolist()

    import onnxruntime

    assert export.main([str(run.path), "--format", "onnx"]) == 0
    session = onnxruntime.InferenceSession(run.path / "final" / "winner.onnx")
    [found] = session.run(None, {"images": images})
    module = export.export(winner, "safetensors", tmp_path / "winner.safetensors")
    assert module.same_class == module.images
    assert np.allclose(found, probabilities, atol=1e-3 if winner.recipe.precision == "float32" else 3e-2)

    final = json.loads((run.path / "final" / "metrics.json").read_text())
    for role in ("winner", "baseline"):
        costs = final[role]["costs"]
        assert costs["parameters"] > 1000
        assert costs["multiply_adds"] > 1000
        assert 0 < costs["seconds_batch_1"] < costs["seconds_batch_64"]
        assert 0 <= final[role]["calibration"]["expected_calibration_error"] <= 1
    assert (
        f"| parameters | {final['winner']['costs']['parameters']:,} |" in (run.path / "final" / "README.md").read_text()
    )
    assert all(0 <= image < final["winner"]["n"] for image in final["candidate_label_errors"])


def test_probabilities_are_calibrated_on_the_validation_images_of_the_run(
    run: results.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "calibrated.onnx"
    data_dir = str(run.path.parents[1] / "data")
    command = [str(run.path), "--format", "onnx", "--output", str(file), "--calibrate", "--data-dir", data_dir]
    assert export.main(command) == 0
    said = capsys.readouterr()
    assert "calibration: epoch 2 of 2" in said.err
    assert f"fitted on {run.study['data']['validation']} validation images" in said.out
    fitted = json.loads((run.path / "final" / "temperature.json").read_text())
    assert fitted["log_loss_after"] < fitted["log_loss_before"]

    import onnxruntime

    winner = study.load_winner(run)
    images = export.random_images(winner, 20)
    [found] = onnxruntime.InferenceSession(file).run(None, {"images": images})
    assert np.allclose(found, at_temperature(winner.predict_proba(images), fitted["temperature"]), atol=1e-4)

    assert export.main(command) == 0  # the temperature is kept, so nothing is trained
    assert "epoch" not in capsys.readouterr().err
