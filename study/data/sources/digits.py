"""scikit-learn's digits: 1,797 handwritten digits of 8 x 8 grey pixels, which ship inside scikit-learn.

The test set is the second half in the given order, as in scikit-learn's own example
(https://scikit-learn.org/stable/auto_examples/classification/plot_digits_classification.html), whose support vector
machine reaches 96.9% on the same test images. The writers of the two halves differ.
"""

import numpy as np

from study.data.dataset import DataOptions, Dataset, Report, SealedTest, Split, image_spec

TEST_IMAGES = 899  # train_test_split(test_size=0.5, shuffle=False) rounds the test set's half up


def load(options: DataOptions, report: Report) -> Dataset:
    """898 training images and 899 sealed test images, [N, 8, 8, 1]."""
    training = _half(slice(None, -TEST_IMAGES))
    names = tuple(str(digit) for digit in range(10))
    return Dataset(
        "digits", names, training, SealedTest(_test_half), image_spec(training, 10), options, allows_flip=False
    )


def _test_half() -> Split:
    return _half(slice(-TEST_IMAGES, None))


def _half(rows: slice) -> Split:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # The pixels are integers from 0 to 16.
    images = np.rint(digits.images[rows, :, :, None] * (255 / 16)).astype(np.uint8)
    return Split(images, digits.target[rows].astype(np.int64))
