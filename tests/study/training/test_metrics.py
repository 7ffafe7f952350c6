import numpy as np
import pytest
import sklearn.metrics
import torch

from study.training.metrics import METRICS, measure, measured_each_epoch

SKLEARN = {
    "accuracy": lambda labels, p: sklearn.metrics.accuracy_score(labels, p.argmax(1)),
    "balanced_accuracy": lambda labels, p: sklearn.metrics.balanced_accuracy_score(labels, p.argmax(1)),
    "macro_f1": lambda labels, p: sklearn.metrics.f1_score(labels, p.argmax(1), average="macro"),
    "kappa": lambda labels, p: sklearn.metrics.cohen_kappa_score(labels, p.argmax(1)),
    "log_loss": lambda labels, p: sklearn.metrics.log_loss(labels, p, labels=np.arange(p.shape[1])),
    "roc_auc": lambda labels, p: sklearn.metrics.roc_auc_score(labels, p, multi_class="ovr"),
}


def predictions(seed: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Imbalanced classes, and predictions that are better than chance."""
    random = np.random.default_rng(seed)
    labels = random.choice(classes, 400, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = torch.from_numpy(random.normal(size=(400, classes)) + np.eye(classes)[labels])
    return labels, logits.softmax(1).numpy()


def test_every_metric_is_compared_with_scikit_learn() -> None:
    assert set(SKLEARN) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_a_metric_is_scikit_learns(name: str, seed: int) -> None:
    labels, probabilities = predictions(seed)
    assert METRICS[name].function(labels, probabilities) == pytest.approx(
        SKLEARN[name](labels, probabilities), rel=1e-6
    )


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "kappa", "log_loss", "accuracy"])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_class_without_images_is_treated_as_scikit_learn_does(name: str) -> None:
    labels, probabilities = predictions(0)
    kept = labels != 2
    labels, probabilities = labels[kept], probabilities[kept]
    assert METRICS[name].function(labels, probabilities) == pytest.approx(
        SKLEARN[name](labels, probabilities), rel=1e-6
    )


def test_the_area_under_the_curve_leaves_a_class_without_images_out() -> None:
    labels, probabilities = predictions(0)
    kept = labels != 2
    areas = [sklearn.metrics.roc_auc_score(labels[kept] == label, probabilities[kept, label]) for label in (0, 1, 3, 4)]
    assert METRICS["roc_auc"].function(labels[kept], probabilities[kept]) == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("name", METRICS)
def test_mode_and_order_of_better_and_worse_predictions_agree(name: str) -> None:
    labels, probabilities = predictions(0)
    better = 0.5 * probabilities + 0.5 * np.eye(5)[labels]
    metric = METRICS[name]
    good, bad = (metric.function(labels, each) for each in (better, probabilities))
    assert metric.is_better(good, bad)
    assert not metric.is_better(bad, good)


def test_a_constant_prediction_of_a_single_class_has_no_agreement_beyond_chance() -> None:
    labels = np.zeros(5, dtype=np.int64)
    probabilities = np.tile([0.9, 0.1], (5, 1))
    assert METRICS["kappa"].function(labels, probabilities) == 0.0


def test_accuracy_is_the_float32_that_torch_would_give() -> None:
    """Version 0.1 recorded that number, and a replay compares bits."""
    for right in range(0, 5001, 7):
        labels = np.zeros(5000, dtype=np.int64)
        probabilities = np.tile([0.1, 0.9], (5000, 1))
        probabilities[:right] = [0.9, 0.1]
        expected = float((torch.from_numpy(probabilities).argmax(1) == 0).float().mean())
        assert METRICS["accuracy"].function(labels, probabilities) == expected


def test_a_certain_and_wrong_prediction_has_a_finite_log_loss() -> None:
    labels, certain = np.array([0]), np.array([[0.0, 1.0]])
    assert METRICS["log_loss"].function(labels, certain) == pytest.approx(SKLEARN["log_loss"](labels, certain))


def test_the_cheap_metrics_and_the_one_that_selects_are_measured_each_epoch() -> None:
    assert measured_each_epoch() == ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "kappa")
    assert "roc_auc" in measured_each_epoch("roc_auc")
    labels, probabilities = predictions(0)
    assert set(measure(labels, probabilities, ("accuracy", "kappa"))) == {"val_accuracy", "val_kappa"}
