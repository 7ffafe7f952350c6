"""Candidate label errors: a hand-made case, and planted errors that are found again."""

import numpy as np
import pytest
from scipy.special import softmax

from results.label_errors import label_errors


def test_an_image_counts_as_the_class_whose_average_it_reaches() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    # Thresholds are the means over each label: (0.9 + 0.8 + 0.1) / 3 = 0.6 and (0.9 + 0.9 + 0.48) / 3 = 0.76.
    of_one = np.array([0.1, 0.2, 0.9, 0.9, 0.9, 0.48])
    probabilities = np.stack([1 - of_one, of_one], 1)[None]
    # Image 2 counts as class 1; image 5 leans to class 0 but does not reach 0.6.
    assert label_errors(labels, probabilities).tolist() == [2]


def test_an_image_that_only_one_of_three_networks_contradicts_is_no_candidate() -> None:
    labels = np.array([0, 0, 1, 1])
    sure = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.2, 0.8]])
    doubting = sure.copy()
    doubting[0] = [0.0, 1.0]
    slightly = sure.copy()
    slightly[0] = [0.51, 0.49]
    assert label_errors(labels, np.stack([doubting, slightly, slightly])).tolist() == []
    assert label_errors(labels, np.stack([doubting, doubting, slightly])).tolist() == [0]


def test_planted_errors_are_found_and_nothing_else_is() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 10, 5000)
    logits = random.normal(0, 1, (3, 5000, 10))
    logits[:, np.arange(5000), truth] += 6
    labels = truth.copy()
    planted = random.choice(5000, 50, replace=False)
    labels[planted] = (truth[planted] + random.integers(1, 10, 50)) % 10
    found = label_errors(labels, softmax(logits, axis=2))
    # An image counts as its true class only where its probability reaches the class's average.
    assert len(found) >= 30
    assert set(found) <= set(planted)


def test_a_class_that_no_image_is_labelled_as_is_no_candidate_class() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.full((1, 4, 3), [0.1, 0.1, 0.8])
    assert label_errors(labels, probabilities).tolist() == []


def test_probabilities_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="labels are"):
        label_errors(np.array([0, 1]), np.ones((1, 3, 2)))
