"""Trainings of a user's own: the examples of the documentation, and what goes wrong with others."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from study.data.dataset import ImageSpec, Split
from study.errors import ModelError
from study.recipe import Recipe
from study.training.checks import check_trainer
from study.training.loop import Diverged, Epoch, Training
from study.training.trainer import UserTrainer, build_trainer

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
SPEC = ImageSpec(8, 6, 1, 3, (0.5,), (0.25,))
RECIPE = Recipe(lr=0.01, batch_size=16, epochs=4, seed=5)
OWN = {
    "scikit-learn": f"{EXAMPLES / 'sgd_classifier.py'}:SGD",
    "PyTorch": f"{EXAMPLES / 'pytorch_loop.py'}:Loop",
    "Lightning": f"{EXAMPLES / 'lightning_module.py'}:LightningTrainer",
}


def images(seed: int, number: int = 90) -> Split:
    """Three classes that differ in brightness."""
    random = np.random.default_rng(seed)
    labels = np.arange(number) % 3
    noise = random.integers(0, 60, (number, 8, 6, 1))
    return Split((noise + 80 * labels[:, None, None, None]).astype(np.uint8), labels)


TRAIN, VALIDATION = images(0), images(1, 30)


def own(trainer: object, **options: object) -> UserTrainer:
    found = build_trainer(trainer, RECIPE, TRAIN, VALIDATION, spec=SPEC, **options)  # type: ignore[arg-type]
    assert isinstance(found, UserTrainer)
    return found


def through_a_file(state: object) -> dict[str, object]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.fixture
def quiet() -> None:
    import logging
    import warnings

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # Lightning recommends more workers for its loader


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", OWN)
def test_an_example_of_the_documentation_learns_and_is_measured_like_the_built_in_loop(name: str) -> None:
    check_trainer(OWN[name], RECIPE, SPEC)
    trainer = own(OWN[name])
    epochs = list(trainer)
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4]
    built_in = Training(Recipe(epochs=1, channels="4", hidden="4"), TRAIN, VALIDATION, spec=SPEC)
    assert set(epochs[-1].metrics) == set(next(iter(built_in)).metrics)
    probabilities = trainer.predict(VALIDATION.images)
    accuracy = (probabilities.argmax(1) == VALIDATION.labels).mean()
    assert epochs[-1].metrics["val_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.6  # chance is 1/3


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", OWN)
def test_a_training_that_was_interrupted_continues_to_the_same_numbers(name: str) -> None:
    straight, first, second = own(OWN[name]), own(OWN[name]), own(OWN[name])
    uninterrupted = [epoch.metrics for epoch in straight]
    started = iter(first)
    before = [next(started).metrics for _ in range(2)]
    second.load_state_dict(through_a_file(first.state_dict()))
    after = [epoch.metrics for epoch in second]
    assert before + after == uninterrupted
    assert np.array_equal(second.predict(VALIDATION.images), straight.predict(VALIDATION.images))


def test_a_trainer_that_cannot_save_its_state_says_what_that_costs() -> None:
    assert "starts again" in check_trainer(OWN["scikit-learn"], RECIPE, SPEC)
    assert check_trainer(OWN["PyTorch"], RECIPE, SPEC) == ""


def test_the_finished_state_of_one_that_cannot_save_predicts_after_training_again() -> None:
    trained, restored = own(OWN["scikit-learn"]), own(OWN["scikit-learn"])
    list(trained)
    restored.load_state_dict(through_a_file(trained.state_dict()))
    assert np.array_equal(restored.predict(VALIDATION.images), trained.predict(VALIDATION.images))


def test_options_of_the_recipe_are_arguments_of_the_trainer() -> None:
    wide = RECIPE.with_fields({"model.hidden": 7})
    trainer = build_trainer(OWN["PyTorch"], wide, TRAIN, spec=SPEC)
    assert trainer.own.network[1].out_features == 7
    with pytest.raises(ModelError, match=r"has no hyperparameter model\.depth; allowed: model\.hidden"):
        build_trainer(OWN["PyTorch"], RECIPE.with_fields({"model.depth": 1}), TRAIN, spec=SPEC)


class Perfect:
    """A trainer that is a class in the caller's own module, as in a notebook."""

    def __init__(self, validation: Split | None, spec: ImageSpec) -> None:
        self.labels, self.classes = VALIDATION.labels, spec.num_classes

    def __iter__(self) -> object:
        while True:
            yield {"train_loss": 0.25}

    def predict(self, images: np.ndarray) -> np.ndarray:
        return np.eye(self.classes)[self.labels[: len(images)]]


def test_a_class_is_taken_as_it_is_and_may_go_on_for_ever() -> None:
    saved: list[int] = []
    epochs = list(own(Perfect, after_step=lambda trainer: saved.append(trainer.epoch)))
    assert [epoch.metrics["val_accuracy"] for epoch in epochs] == [1.0] * 4
    assert [epoch.metrics["train_loss"] for epoch in epochs] == [0.25] * 4
    assert saved == [1, 2, 3, 4]


def test_metrics_that_the_trainer_yields_are_taken_over() -> None:
    class Own(Perfect):
        def __iter__(self) -> object:
            yield Epoch(1, {"train_loss": 1.0, "val_accuracy": 0.5}, 1.0)

    metrics = next(iter(own(Own))).metrics
    assert metrics["val_accuracy"] == 0.5
    assert metrics["val_kappa"] == 1.0


def raising(self: object) -> object:
    raise KeyError("weights")


def ends_early(self: object) -> object:
    yield
    yield


def a_number(self: object) -> object:
    yield 3


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"__iter__": raising}, r"raised KeyError: 'weights' \(.*test_trainer\.py, line \d+\)"),
        ({"__iter__": ends_early}, "ended after 2 of 4 epochs"),
        ({"__iter__": a_number}, "yielded int; allowed: an Epoch, a mapping or None"),
        ({"predict": lambda self, images: np.ones((2, 2))}, r"gives \(2, 2\); allowed: \(30, 3\)"),
        ({"predict": lambda self, images: np.ones((len(images), 3))}, "gives rows that are no probabilities"),
        ({"predict": lambda self, images: np.full((len(images), 3), np.nan)}, "gives rows that are no probabilities"),
        ({"predict": None}, "has no method predict"),
    ],
)
def test_a_mistake_of_a_trainer_is_one_line_with_its_name(methods: dict[str, object], message: str) -> None:
    trainer = type("Wrong", (Perfect,), methods)
    with pytest.raises(ModelError, match=message) as error:
        list(own(trainer))
    assert "python:Wrong" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_state_with_other_objects_is_refused_with_their_place() -> None:
    class Own(Perfect):
        def state_dict(self) -> dict[str, object]:
            return {"model": {"at": Path("x")}}

        def load_state_dict(self, state: object) -> None: ...

    with pytest.raises(ModelError, match=r"has a PosixPath at state\['model'\]\['at'\]"):
        own(Own).state_dict()


def test_a_loss_that_is_not_finite_is_a_divergence() -> None:
    class Own(Perfect):
        def __iter__(self) -> object:
            yield {"train_loss": 1.0}
            yield {"train_loss": float("nan")}

    with pytest.raises(Diverged) as diverged:
        list(own(Own))
    assert diverged.value.epoch == 2


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.py:Net", "trainer 'nowhere.py:Net'"),
        (f"{EXAMPLES / 'pytorch_loop.py'}:Lop", "has no 'Lop'; did you mean 'Loop'"),
        (f"{EXAMPLES / 'sgd_classifier.py'}:np", "is module; allowed: a class or a function"),
        ("python:Gone", "was passed from Python, so it must be passed again"),
    ],
)
def test_a_reference_that_cannot_be_loaded_is_one_line(reference: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        own(reference)
