"""CIFAR-10 as arrays."""
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, 32, 32, 3] (channels last, as a batch is gathered), labels int64 [N]."""

    images: np.ndarray
    labels: np.ndarray
