"""Calibration against scikit-learn and made networks whose miscalibration is known."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as reference_log_loss

from results.calibration import (
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    summary,
)


def network(n: int, temperature: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels drawn from the probabilities, which are then those of logits divided by `temperature`."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n, 5))
    labels = (softmax(logits, axis=1).cumsum(1) < random.random((n, 1))).sum(1)
    return labels.clip(0, 4), softmax(logits / temperature, axis=1)


def test_log_loss_is_scikit_learns_also_with_a_probability_of_zero() -> None:
    labels, probabilities = network(200, 1.0)
    probabilities[0] = np.eye(5)[(labels[0] + 1) % 5]
    assert log_loss(labels, probabilities) == pytest.approx(reference_log_loss(labels, probabilities))


def test_the_reliability_of_two_classes_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    of_one = random.uniform(0.5, 1.0, 500)
    labels = (random.random(500) < of_one).astype(np.int64)
    table = reliability(labels, np.stack([1 - of_one, of_one], 1), bins=10)
    accuracy, confidence = calibration_curve(labels, of_one, n_bins=10)
    occupied = table[table["images"] > 0]
    assert occupied["accuracy"].tolist() == pytest.approx(accuracy.tolist())
    assert occupied["confidence"].tolist() == pytest.approx(confidence.tolist())
    assert table["images"].sum() == 500
    assert table["accuracy"].isna().sum() == 5


def test_expected_calibration_error_is_the_weighted_distance_of_its_bins() -> None:
    # 4 images at 0.9, of which 2 are right, and 1 at 0.6 that is right: 4/5 * 0.4 + 1/5 * 0.4.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    labels = np.array([0, 0, 1, 1, 0])
    assert expected_calibration_error(labels, probabilities, bins=10) == pytest.approx(0.4)


def test_a_network_that_says_what_it_means_is_calibrated_and_one_that_is_too_sure_is_not() -> None:
    labels, probabilities = network(20_000, 1.0)
    assert expected_calibration_error(labels, probabilities) < 0.02
    assert expected_calibration_error(*network(20_000, 0.5)) > 0.08


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_undoes_what_was_done_to_the_logits(temperature: float) -> None:
    labels, probabilities = network(20_000, temperature)
    assert fit_temperature(labels, probabilities) == pytest.approx(1 / temperature, rel=0.05)


def test_scaling_keeps_the_classes_and_is_the_softmax_of_divided_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (100, 4))
    scaled = at_temperature(softmax(logits, axis=1).astype(np.float32), 2.5)
    assert scaled == pytest.approx(softmax(logits / 2.5, axis=1), abs=1e-6)
    assert (scaled.argmax(1) == logits.argmax(1)).all()


@pytest.mark.parametrize("labels", [[0, 1, 2], [], [0, 7], [-1, 0]])
def test_labels_that_do_not_belong_to_the_probabilities_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels are"):
        log_loss(np.array(labels, dtype=np.int64), np.full((2, 3), 1 / 3))


def test_the_summary_of_several_seeds_is_json_with_nothing_for_empty_bins() -> None:
    labels, first = network(300, 1.0)
    second = at_temperature(first, 0.5)
    found = json.loads(json.dumps(summary(labels, np.stack([first, second])), allow_nan=False))
    assert found["log_loss"] == pytest.approx((log_loss(labels, first) + log_loss(labels, second)) / 2)
    assert len(found["reliability"]) == 15
    assert found["reliability"][0] == {"bin": pytest.approx(1 / 15), "images": 0, "confidence": None, "accuracy": None}
