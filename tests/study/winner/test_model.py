import json
from pathlib import Path

import numpy as np
import pytest
import torch
from finished_run import CLASSES, RECIPE, FinishedRun, coloured, finished_run, write_images
from numpy.typing import NDArray
from PIL import Image

import study
from study.data.dataset import CIFAR10, image_spec
from study.errors import DataError, ModelError, StudyError, UserCodeError
from study.pipeline.trusted_code import Permission
from study.storage.user_code import record_user_code
from study.training.references import reference_of
from study.training.trainer import build_trainer
from study.winner.model import Winner, class_names, load, spec_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return finished_run(tmp_path_factory.mktemp("runs") / "colours")


@pytest.fixture(scope="module")
def winner(run: FinishedRun) -> Winner:
    return load(run.path)


def test_it_gives_the_probabilities_of_the_evaluation_to_the_last_bit(run: FinishedRun, winner: Winner) -> None:
    assert np.array_equal(winner.predict_proba(run.test.images), run.probabilities)
    assert (run.probabilities.argmax(1) == run.test.labels).mean() > 0.8  # it has learnt, so that classes matter


def test_predict_names_the_most_probable_class(run: FinishedRun, winner: Winner) -> None:
    assert winner.classes_.tolist() == list(CLASSES)
    expected = [CLASSES[label] for label in run.probabilities.argmax(1)]
    assert winner.predict(run.test.images).tolist() == expected


def test_files_folders_pil_images_and_arrays_get_the_same_answers(
    run: FinishedRun, winner: Winner, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, run.test)
    given = [Image.fromarray(image) for image in run.test.images]
    for same in (paths, [str(path) for path in paths], given, list(run.test.images)):
        assert np.array_equal(winner.predict_proba(same), run.probabilities)
    order = [path for path, _ in sorted(zip(paths, range(len(paths)), strict=True))]
    assert np.array_equal(winner.predict_proba(tmp_path), winner.predict_proba(order))
    mixed = [paths[0], given[1], run.test.images[2], run.test.images[3:5]]
    assert np.array_equal(winner.predict_proba(mixed), winner.predict_proba(run.test.images[:5]))


def test_one_image_is_a_batch_of_one(run: FinishedRun, winner: Winner) -> None:
    assert winner.predict_proba(run.test.images[0]).shape == (1, 3)


def test_nothing_gives_an_empty_answer(winner: Winner) -> None:
    assert winner.predict_proba([]).shape == (0, 3)
    assert winner.predict([]).shape == (0,)


def test_a_file_of_another_size_is_resized_as_for_training(winner: Winner, tmp_path: Path) -> None:
    large = Image.effect_noise((90, 60), 80).convert("RGB")
    large.save(tmp_path / "large.png")
    assert winner.predict_proba(tmp_path / "large.png").shape == (1, 3)
    assert np.array_equal(winner.predict_proba(large), winner.predict_proba(tmp_path / "large.png"))


def test_module_has_the_preprocessing_inside(run: FinishedRun, winner: Winner) -> None:
    assert not winner.module.training
    with torch.no_grad():
        found = winner.module(torch.from_numpy(run.test.images))
    assert np.allclose(found.numpy(), run.probabilities, atol=1e-6)


def test_a_grey_winner_takes_images_without_a_channel_axis(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "grey", channels=1)
    winner = load(run.path)
    assert np.array_equal(winner.predict_proba(run.test.images), run.probabilities)
    assert np.array_equal(winner.predict_proba(run.test.images[..., 0]), run.probabilities)
    assert np.array_equal(winner.predict_proba(run.test.images[0, ..., 0]), winner.predict_proba(run.test.images[0]))
    paths = write_images(tmp_path / "images", run.test)
    assert np.array_equal(winner.predict_proba(paths), run.probabilities)


def test_whitening_filters_and_statistics_come_from_the_run(tmp_path: Path) -> None:
    recipe = RECIPE.with_fields({"model": "fast", "channels": "8-8-8-8", "precision": "bfloat16"})
    run = finished_run(tmp_path / "fast", recipe)
    assert np.array_equal(load(run.path).predict_proba(run.test.images), run.probabilities)


def test_pretrained_weights_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path / "colours", RECIPE.with_fields({"model": "resnet18", "epochs": 1}))
    metrics = json.loads((run.path / "final" / "metrics.json").read_text())
    metrics["winner"]["recipe"]["pretrained"] = True
    (run.path / "final" / "metrics.json").write_text(json.dumps(metrics))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)
    assert np.array_equal(load(run.path).predict_proba(run.test.images), run.probabilities)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 12, 12, 3), np.float32), "images are an array of float32; allowed: uint8, from 0 to 255"),
        (np.zeros((2, 12, 12, 4), np.uint8), "an array of 2 x 12 x 12 x 4; allowed: N x 12 x 12 x 3 or 12 x 12 x 3"),
        (np.zeros((2, 12, 12), np.uint8), "an array of 2 x 12 x 12; allowed: N x 12 x 12 x 3"),
        (np.zeros((9, 9, 3), np.uint8), "an array of 9 x 9 x 3; allowed"),
        (7, "images are given as int; allowed: a path"),
        ("nowhere.png", "nowhere.png: no such file or folder"),
    ],
)
def test_images_that_it_cannot_take_are_refused(winner: Winner, given: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        winner.predict(given)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_named(winner: Winner, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png cannot be read: no image"):
        winner.predict(tmp_path)


def test_a_run_without_a_finished_final_has_no_winner(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "colours", status="stopped")
    (run.path / "final" / "metrics.json").unlink()
    with pytest.raises(ModelError, match=r"colours has no winner: its final training has not finished \(.*stopped"):
        load(run.path)


def test_what_is_no_run_has_no_winner(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is no run"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not torch", None])
def test_a_damaged_or_foreign_model_is_refused(run: FinishedRun, tmp_path: Path, content: bytes | None) -> None:
    other = finished_run(tmp_path / "colours", RECIPE.with_fields({"epochs": 1}))
    file = other.path / "final" / "model.pt"
    if content is None:
        torch.save({"0.weight": torch.zeros(3)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.pt (cannot be read|does not fit)") as error:
        load(other.path)
    assert "\n" not in str(error.value)


def test_a_pickled_model_is_not_executed(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "colours", RECIPE.with_fields({"epochs": 1}))
    torch.save({"0.weight": Path("dangerous")}, run.path / "final" / "model.pt")
    with pytest.raises(ModelError, match="cannot be read"):
        load(run.path)


def test_runs_recorded_before_specs_were_have_those_of_cifar10() -> None:
    assert spec_of({"dataset": "cifar10", "data": {}}) == CIFAR10
    assert class_names({"dataset": "cifar10", "data": {}})[9] == "truck"
    assert class_names({"dataset": "synthetic", "data": {}})[9] == "class 9"
    with pytest.raises(DataError, match=r"data\.spec"):
        spec_of({"name": "mine", "dataset": "mine", "data": {}})


TRAINER = """
import numpy as np

class Brightest:
    def __init__(self, recipe, train, spec):
        self.images, self.scale = train.images, 0.0
    def __iter__(self):
        while True:
            self.scale += float(self.images.mean())
            yield None
    def predict(self, images):
        scores = np.exp(self.scale * images.mean((1, 2)) / 10_000)
        return scores / scores.sum(1, keepdims=True)
"""
SAVES = """
    def state_dict(self):
        return {"scale": self.scale}
    def load_state_dict(self, state):
        self.scale = state["scale"]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a trainer of this user's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text(TRAINER + SAVES)
    return tmp_path / "mine.py"


def run_of_a_trainer(file: Path, *, signed: bool = True) -> tuple[FinishedRun, NDArray[np.float32]]:
    """A run with `file`:Brightest as its trainer, and what that answers for the run's test images."""
    train, path, reference = coloured(240, 0), file.parent / "colours", f"{file}:Brightest"
    run = finished_run(path, RECIPE.with_fields({"epochs": 1}), arguments={"trainer": reference})
    if signed:
        record_user_code(path, {"trainer": reference})
    trainer = build_trainer(reference, RECIPE, train, spec=image_spec(train, 3))
    next(iter(trainer))
    torch.save(trainer.state_dict(), path / "final" / "model.pt")
    return run, trainer.predict(run.test.images)


def test_a_trainer_of_the_users_own_predicts_as_it_did(file: Path) -> None:
    run, expected = run_of_a_trainer(file)
    winner = load(run.path)
    assert np.array_equal(winner.predict_proba(run.test.images), expected)
    assert type(winner.module).__name__ == "Brightest"


def test_a_trainer_that_does_not_save_its_state_has_no_winner(file: Path) -> None:
    file.write_text(TRAINER)
    run, _ = run_of_a_trainer(file)
    with pytest.raises(ModelError, match=r"mine\.py:Brightest' cannot save its state, so its winner was not kept"):
        load(run.path)


def test_a_trainer_whose_file_is_gone_is_loaded_from_the_copy_in_the_run(file: Path) -> None:
    run, expected = run_of_a_trainer(file)
    file.unlink()
    said: list[str] = []
    assert np.array_equal(load(run.path, say=said.append).predict_proba(run.test.images), expected)
    assert len(said) == 1
    assert "is gone; the copy in the run is used" in said[0]


def test_a_trainer_whose_file_and_copy_are_gone_is_named_in_one_line(file: Path) -> None:
    run, _ = run_of_a_trainer(file)
    file.unlink()
    (run.path / "code" / "trainer" / "mine.py").unlink()
    with pytest.raises(UserCodeError, match=r"mine\.py") as error:
        load(run.path)
    assert "\n" not in str(error.value)


EXECUTED = "\nopen({marker!r}, 'w').close()\n"


@pytest.mark.parametrize("signed", [True, False], ids=["changed since", "unsigned"])
def test_code_that_may_be_somebody_elses_is_not_executed(file: Path, signed: bool) -> None:
    run, expected = run_of_a_trainer(file, signed=signed)
    marker = file.parent / "executed"
    file.write_text(file.read_text() + EXECUTED.format(marker=str(marker)))
    with pytest.raises(UserCodeError, match=r"mine\.py") as error:
        load(run.path)
    assert "\n" not in str(error.value)
    assert not marker.exists()
    allowed = Permission(accept_changes=True) if signed else Permission(trust=True)
    assert np.array_equal(load(run.path, allowed).predict_proba(run.test.images), expected)
    assert marker.exists()


def test_the_space_of_a_run_may_be_gone_or_have_been_passed_from_python(file: Path) -> None:
    path, reference = file.parent / "colours", f"{file}:Brightest"
    run, expected = run_of_a_trainer(file)
    record_user_code(path, {"trainer": reference, "space": "python:space"}, {"python:space": load})
    assert np.array_equal(load(path).predict_proba(run.test.images), expected)


NETWORK = """
from torch import nn

class Mine(nn.Sequential):
    def __init__(self, in_channels, num_classes):
        super().__init__(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * in_channels, num_classes))
"""


def test_a_network_of_the_users_own_is_loaded_under_the_same_rules(file: Path) -> None:
    file.write_text(NETWORK)
    run = finished_run(file.parent / "colours", RECIPE.with_fields({"model": f"{file}:Mine", "epochs": 1}))
    with pytest.raises(UserCodeError, match=r"names model .*mine\.py:Mine without a signature of yours"):
        load(run.path)
    named = load(run.path, Permission(model=f"{file}:Mine"))
    record_user_code(run.path, {"network": f"{file}:Mine"})
    for winner in (named, load(run.path)):
        assert np.array_equal(winner.predict_proba(run.test.images), run.probabilities)


def test_a_network_that_was_passed_from_python_is_passed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(in_channels: int, num_classes: int) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(4 * in_channels, num_classes)
        )

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    reference = reference_of(small)
    run = finished_run(tmp_path / "colours", RECIPE.with_fields({"model": reference, "epochs": 1}))
    record_user_code(run.path, {"network": reference}, {reference: small})
    with pytest.raises(UserCodeError, match="began with a network passed from Python, small; pass it again"):
        study.load_winner(run.path)
    assert np.array_equal(study.load_winner(run.path, model=small).predict_proba(run.test.images), run.probabilities)
