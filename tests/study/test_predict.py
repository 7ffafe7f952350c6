import csv
import json
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from finished_run import CLASSES, RECIPE, FinishedRun, finished_run, write_images
from sklearn.metrics import balanced_accuracy_score

from results.model_comparison import wilson
from study.errors import DataError
from study.predict import evaluate, main
from study.winner.model import load

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return finished_run(tmp_path_factory.mktemp("runs") / "colours")


@pytest.fixture
def predict(run: FinishedRun, capsys: pytest.CaptureFixture[str]) -> Main:
    """Runs the command line on the run; its exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(run.path), *map(str, arguments)])
        except SystemExit as left:
            code = int(left.code or 0)
        return code, *capsys.readouterr()

    return call


def test_csv_has_a_row_an_image(run: FinishedRun, predict: Main, tmp_path: Path) -> None:
    paths = write_images(tmp_path, run.test)
    code, out, err = predict(*paths)
    rows = list(csv.DictReader(StringIO(out)))
    assert (code, err) == (0, "")
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    assert [row["class"] for row in rows] == [CLASSES[label] for label in run.probabilities.argmax(1)]
    assert [float(row["confidence"]) for row in rows] == run.probabilities.max(1).tolist()


def test_a_table_has_four_decimals_and_no_control_characters(
    run: FinishedRun, predict: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    first, second = write_images(tmp_path, run.test)[:2]
    red = second.rename(tmp_path / "\x1b[31m[red].png")
    code, out, _ = predict(first, red, "--format", "table")
    heading, *rows = (line.split() for line in out.splitlines())
    assert code == 0
    assert heading == ["image", "class", "confidence"]
    labels, confidences = run.probabilities.argmax(1), run.probabilities.max(1)
    assert [row[1:] for row in rows] == [[CLASSES[labels[at]], f"{confidences[at]:.4f}"] for at in (0, 1)]
    assert rows[0][0] == str(first)
    assert rows[1][0] == str(tmp_path / r"\x1b[31m[red].png")


def test_scores_fit_a_table_too(run: FinishedRun, predict: Main, tmp_path: Path) -> None:
    for path, label in zip(write_images(tmp_path, run.test), run.test.labels, strict=True):
        (tmp_path / "labelled" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "labelled" / CLASSES[label] / path.name)
    code, out, _ = predict("--test", tmp_path / "labelled", "--format", "table")
    accuracy = (run.probabilities.argmax(1) == run.test.labels).mean()
    assert code == 0
    assert out.splitlines()[1].split()[:2] == ["accuracy", f"{accuracy:.4f}"]


def test_json_has_the_probability_of_every_class(run: FinishedRun, predict: Main, tmp_path: Path) -> None:
    paths = write_images(tmp_path, run.test)
    code, out, _ = predict(paths[7], "--format", "json", "--probabilities")
    [row] = json.loads(out)
    assert code == 0
    assert set(row) == {"image", "class", "confidence", *(f"probability/{name}" for name in CLASSES)}
    # A matrix product with one row sums in another order than one with many.
    assert [row[f"probability/{name}"] for name in CLASSES] == pytest.approx(run.probabilities[7].tolist(), abs=1e-6)


def test_a_folder_is_taken_in_the_order_of_its_paths(run: FinishedRun, predict: Main, tmp_path: Path) -> None:
    paths = write_images(tmp_path, run.test)
    _, out, _ = predict(tmp_path)
    assert [row["image"] for row in csv.DictReader(StringIO(out))] == sorted(map(str, paths))


def test_images_over_several_batches_keep_their_names(
    run: FinishedRun, predict: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.winner.model.BATCH", 7)
    paths = write_images(tmp_path, run.test)
    paths[3].write_bytes(b"")
    code, out, _ = predict(*paths)
    rows = list(csv.DictReader(StringIO(out)))
    assert code == 2
    assert [row["image"] for row in rows] == [str(path) for path in paths if path != paths[3]]
    expected = np.delete(run.probabilities, 3, 0)
    assert [row["class"] for row in rows] == [CLASSES[label] for label in expected.argmax(1)]
    # The batches are smaller than the evaluation's, as above.
    assert np.allclose([float(row["confidence"]) for row in rows], expected.max(1), atol=1e-6)


def test_unreadable_images_are_named_and_the_others_predicted(run: FinishedRun, predict: Main, tmp_path: Path) -> None:
    paths = write_images(tmp_path, run.test)
    paths[0].write_bytes(paths[0].read_bytes()[:60])
    (tmp_path / "note.png").write_text("not an image")
    code, out, err = predict(tmp_path, "--format", "json")
    assert code == 2
    assert len(json.loads(out)) == len(paths) - 1
    assert f"study.predict: {paths[0]} cannot be read: " in err
    assert "note.png cannot be read: no image, or of a format that Pillow does not know" in err
    assert len(err.splitlines()) == 2


def test_no_readable_image_is_still_valid_json(predict: Main, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not an image")
    code, out, _ = predict(tmp_path, "--format", "json")
    assert (code, json.loads(out)) == (2, [])


def test_a_labelled_folder_gives_metrics_with_intervals(run: FinishedRun, tmp_path: Path) -> None:
    write_images(tmp_path, run.test)
    scores = {(each.metric, each.class_name): each for each in evaluate(load(run.path), tmp_path)}
    right = run.probabilities.argmax(1) == run.test.labels
    accuracy = scores["accuracy", None]
    assert (accuracy.value, accuracy.images) == (right.mean(), 60)
    assert (accuracy.low, accuracy.high) == (wilson(right.sum(), 60).low, wilson(right.sum(), 60).high)
    balanced = scores["balanced_accuracy", None]
    assert balanced.value == pytest.approx(balanced_accuracy_score(run.test.labels, run.probabilities.argmax(1)))
    assert balanced.low <= balanced.value <= balanced.high
    for label, name in enumerate(CLASSES):
        recall = scores["recall", name]
        own = right[run.test.labels == label]
        assert (recall.value, recall.images) == (own.mean(), 20)


def test_the_bootstrap_interval_is_as_wide_as_it_should_be(tmp_path: Path) -> None:
    """Against the normal approximation of a mean, which the log loss is; of a network that still makes mistakes, as
    otherwise a single image makes up the mean."""
    run = finished_run(tmp_path / "run", RECIPE.with_fields({"epochs": 1, "lr": 0.003}))
    losses = -np.log(run.probabilities[np.arange(60), run.test.labels].astype(np.float64))
    assert losses.mean() > 0.2
    assert losses.max() < 10 * losses.mean()
    write_images(tmp_path / "images", run.test)
    [found] = [each for each in evaluate(load(run.path), tmp_path / "images") if each.metric == "log_loss"]
    assert found.value == pytest.approx(losses.mean(), rel=1e-5)
    assert found.high - found.low == pytest.approx(2 * 1.96 * losses.std() / 60**0.5, rel=0.15)


def test_a_folder_with_some_of_the_classes_will_do(run: FinishedRun, predict: Main, tmp_path: Path) -> None:
    for path in write_images(tmp_path, run.test):
        if path.parent.name == "green":
            path.unlink()
    (tmp_path / "green").rmdir()
    code, out, err = predict("--test", tmp_path, "--format", "json")
    scores = json.loads(out)
    right = (run.probabilities.argmax(1) == run.test.labels)[run.test.labels != 1]
    assert code == 0
    assert scores[0]["metric"] == "accuracy"
    assert scores[0]["value"] == right.mean()
    assert [row["class"] for row in scores if row["metric"] == "recall"] == ["blue", "red"]
    assert err.startswith(f"accuracy {right.mean():.2%} on 40 images (95% interval ")


def test_unknown_classes_splits_and_unreadable_images_are_refused(
    run: FinishedRun, predict: Main, tmp_path: Path
) -> None:
    paths = write_images(tmp_path / "train", run.test)
    assert predict("--test", tmp_path)[2].endswith(f"which has splits; name one of them, such as {tmp_path / 'test'}\n")
    paths[0].write_bytes(b"")
    code, _, err = predict("--test", tmp_path / "train")
    assert code == 2
    assert f"1 of 60 images cannot be read; {paths[0]} cannot be read" in err
    paths[0].parent.rename(tmp_path / "train" / "purple")
    code, _, err = predict("--test", tmp_path / "train")
    assert code == 2
    assert err.endswith(f"with a class 'purple'; allowed, as {run.path} has them: blue, green, red\n")
    with pytest.raises(DataError, match="allowed: a folder of class folders"):
        evaluate(load(run.path), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either images and folders to classify, or --test FOLDER"),
        (["a.png", "--test", "b"], "give either images and folders to classify, or --test FOLDER"),
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["--test", "nowhere"], "--test is nowhere; allowed: a folder of class folders"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(predict: Main, arguments: list[str], message: str) -> None:
    assert predict(*arguments) == (2, "", f"study.predict: {message}\n")


def test_no_such_run_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "nowhere"), "a.png"])
    assert capsys.readouterr().err.count("\n") == 1


def test_predicting_needs_no_ray_and_help_nothing_heavy() -> None:
    check = "import sys; import study.{0}; sys.exit(bool({{'torch', 'ray'}} & set(sys.modules)))"
    for name in ("predict", "export"):
        assert subprocess.run([sys.executable, "-c", check.format(name)], check=False).returncode == 0
    check = "import sys; import study.winner.model, study.pipeline.find_run; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
