"""Do probabilities mean what they say? Calibration error, log loss, reliability, and temperature scaling.

    table = reliability(labels, probabilities)
    fitted = fit_temperature(validation_labels, validation_probabilities)
    scaled = at_temperature(probabilities, fitted)

Labels are int64 [N], classes from 0; probabilities are float [N, classes], rows that sum to 1.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.floating]

BINS = 15
# A probability of exactly 0 of the true class would be an infinite loss; scikit-learn clips at the same place.
SMALLEST = float(np.finfo(np.float64).eps)
TEMPERATURES = (0.05, 20.0)


def reliability(labels: Labels, probabilities: Probabilities, bins: int = BINS) -> pd.DataFrame:
    """How often the predicted class is right where its probability lies in each of `bins` equal parts of 0 to 1.

    Returns:
        Index `bin` (its upper end, a fraction; a probability at an end belongs to the bin below it). Columns `images`
        (int64), `confidence` and `accuracy` (means over the images of the bin, fractions, NaN in an empty bin).

    Raises:
        ValueError: labels and probabilities do not belong together.
    """
    _check(labels, probabilities)
    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    images = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, each, bins) / images for each in (confidence, right)]
    index = pd.Index(np.arange(1, bins + 1) / bins, name="bin")
    return pd.DataFrame({"images": images, "confidence": means[0], "accuracy": means[1]}, index)


def expected_calibration_error(labels: Labels, probabilities: Probabilities, bins: int = BINS) -> float:
    """The mean distance of confidence from accuracy over bins, weighted by their images, a fraction.

    Naeini, Cooper and Hauskrecht 2015, as Guo et al. 2017 (arXiv:1706.04599) use it, with 15 bins. It is biased upwards
    by chance: with few images a perfectly calibrated model has an error above 0.
    """
    table = reliability(labels, probabilities, bins)
    distance = (table["confidence"] - table["accuracy"]).abs()
    return float((distance * table["images"]).sum() / len(labels))


def log_loss(labels: Labels, probabilities: Probabilities) -> float:
    """The mean negative logarithm of the true class's probability, in nats."""
    _check(labels, probabilities)
    of_true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(of_true, SMALLEST, 1.0)).mean())


def summary(labels: Labels, probabilities: NDArray[np.floating]) -> dict[str, Any]:
    """A recipe's `calibration` in metrics.json, JSON-ready, from its networks' probabilities, float [S, N, classes].

    Returns:
        `expected_calibration_error` and `log_loss`, means over seeds; `reliability`, the first seed's table as rows.
    """
    table = reliability(labels, probabilities[0]).reset_index().astype(object)
    return {
        "expected_calibration_error": float(
            np.mean([expected_calibration_error(labels, each) for each in probabilities])
        ),
        "log_loss": float(np.mean([log_loss(labels, each) for each in probabilities])),
        "reliability": table.where(table.notna(), None).to_dict("records"),
    }


def at_temperature(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """The probabilities that the network's logits give when divided by `temperature`, float64 [N, classes].

    Logarithms of probabilities differ from logits by a constant per image only, which softmax does not see.
    """
    logits = np.log(np.clip(probabilities.astype(np.float64), SMALLEST, 1.0)) / temperature
    raised = np.exp(logits - logits.max(1, keepdims=True))
    scaled: NDArray[np.float64] = raised / raised.sum(1, keepdims=True)
    return scaled


def fit_temperature(labels: Labels, probabilities: Probabilities) -> float:
    """The temperature with the smallest log loss (Guo et al. 2017), 0.05 to 20; fit it on validation images.

    Above 1 the network is too sure, below 1 not sure enough. The predicted classes stay as they are.
    """
    from scipy.optimize import minimize_scalar

    _check(labels, probabilities)
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(
        lambda exponent: log_loss(labels, at_temperature(probabilities, float(np.exp(exponent)))),
        bounds=(low, high),
        method="bounded",
    )
    return float(np.exp(found.x))


def _check(labels: Labels, probabilities: Probabilities) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"labels are {labels.shape} and probabilities {probabilities.shape}; allowed: [N] and [N, classes], N > 0"
        )
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(
            f"labels are {labels.min()} to {labels.max()}; allowed: 0 to {probabilities.shape[1] - 1}, a class each"
        )
