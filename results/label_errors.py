"""Test images whose label is probably wrong: what most networks of a study contradict, by confident learning."""

import numpy as np
from numpy.typing import NDArray

from results.calibration import Labels


def label_errors(labels: Labels, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Candidates for a wrong label, the most doubtful first.

    Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068): an image counts as class j where the mean
    probability of j over networks is at least the average of that probability over the images labelled j; where several
    classes pass, the most probable counts. An image that counts as another class than its label is a candidate, if also
    more than half of the networks predict another class than its label. The networks must not have been trained on
    these images. Candidates are not errors: of 275 in CIFAR-10's test set people confirmed 54 (Northcutt, Athalye and
    Mueller 2021, arXiv:2103.14749), and weaker networks have many more candidates.

    Args:
        labels: int64 [N], classes from 0.
        probabilities: float [networks, N, classes].

    Returns:
        Indices of images, int64, by the mean probability of their label, ascending.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if probabilities.ndim != 3 or probabilities.shape[1] != len(labels) or not len(probabilities):
        raise ValueError(
            f"labels are {labels.shape} and probabilities {probabilities.shape}; allowed: [N], [networks, N, classes]"
        )
    mean = probabilities.mean(0, dtype=np.float64)
    classes = mean.shape[1]
    images = np.bincount(labels, minlength=classes)
    of_label = mean[np.arange(len(labels)), labels]
    with np.errstate(invalid="ignore"):
        thresholds = np.bincount(labels, of_label, classes) / images
    # A class that no image is labelled as has no threshold, and no image counts as it.
    passed = np.where(mean >= np.where(images > 0, thresholds, np.inf), mean, -np.inf)
    counts_as_other = passed.max(1) > passed[np.arange(len(labels)), labels]
    contradicted = (probabilities.argmax(2) != labels).mean(0) > 0.5
    candidates = np.flatnonzero(counts_as_other & contradicted)
    found: NDArray[np.int64] = candidates[np.argsort(of_label[candidates], kind="stable")]
    return found
