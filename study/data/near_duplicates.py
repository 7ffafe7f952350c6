"""Pairs of images that show the same picture, up to brightness, recompression and small shifts and crops.

Each image becomes its 8 x 8 miniature, without its mean colour, in PCA's first components scaled to equal variance
(whitening), of length 1. What most images share, such as a bright sky above, then counts little, and what few share
counts much. Two images are near duplicates where the cosine of their vectors is SIMILAR or more. All pairs are
compared; between two sets also with the images of one of them shifted, as the vectors bear a shift of one pixel in 32.
docs/own-images.md has how well this works on CIFAR-10, by published hand annotation and by eye.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from study.data.dataset import CHUNK

SIDE = 8  # pixels of a miniature
COMPONENTS = 96  # of 192 for RGB
SIMILAR = 0.8
SHIFT = 1 / 16  # of the height or width, the larger one
BLOCK = 1_000  # rows of the matrix of cosines that are made at a time
FITTED_ON = 20_000  # images, at most


@dataclass(frozen=True, eq=False)
class Pairs:
    """Near duplicates: image `first[i]` of the one set and `second[i]` of the other, int64, most similar first.

    Attributes:
        similarity: float32, cosines.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.first)


def within(images: NDArray[np.uint8]) -> Pairs:
    """The near duplicates in one set, uint8 [N, H, W, C]; each pair once, with first < second."""
    vectors = _Embedding(images)(images)
    return _pairs(vectors, vectors, within=True)


def between(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> Pairs:
    """The near duplicates between two sets; the embedding is fitted on `others`, the larger one."""
    embed = _Embedding(others)
    theirs = embed(others)
    step = max(1, round(max(images.shape[1:3]) * SHIFT))
    found = [
        _pairs(embed(_shifted(images, down, right)), theirs, within=False)
        for down in (-step, 0, step)
        for right in (-step, 0, step)
    ]
    first = np.concatenate([pairs.first for pairs in found])
    second = np.concatenate([pairs.second for pairs in found])
    similarity = np.concatenate([pairs.similarity for pairs in found])
    # Of each pair the shift that fits best.
    order = np.lexsort((-similarity, second, first))
    first, second, similarity = first[order], second[order], similarity[order]
    is_new = np.diff(first, prepend=-1).astype(bool) | np.diff(second, prepend=-1).astype(bool)
    return _sorted(first[is_new], second[is_new], similarity[is_new])


def _shifted(images: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Shifted by so many pixels; the edges are repeated."""
    rows = np.clip(np.arange(images.shape[1]) - down, 0, images.shape[1] - 1)
    columns = np.clip(np.arange(images.shape[2]) - right, 0, images.shape[2] - 1)
    return images[:, rows][:, :, columns]


class _Embedding:
    """Fitted on some images, it takes images uint8 [N, H, W, C] to vectors float32 [N, at most COMPONENTS]."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        step = -(-len(images) // FITTED_ON)
        miniatures = torch.cat(list(_miniatures(images[::step])))
        self.mean = miniatures.mean(0)
        centred = (miniatures - self.mean).double()
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        variances, directions = variances.flip(0)[:COMPONENTS], directions.flip(1)[:, :COMPONENTS]
        # Pixels that never vary, as a digit's corners, have no direction of their own.
        used = variances > 1e-6 * variances[0].clamp_min(1e-12)
        self.weights = (directions[:, used] / variances[used].sqrt()).float()

    def __call__(self, images: NDArray[np.uint8]) -> torch.Tensor:
        return torch.cat([self._vectors(each) for each in _miniatures(images)])

    def _vectors(self, miniatures: torch.Tensor) -> torch.Tensor:
        vectors = torch.nn.functional.normalize((miniatures - self.mean) @ self.weights)
        # An image of one colour resembles nothing; such images are reported on their own.
        return vectors * miniatures.any(1, keepdim=True)


def _miniatures(images: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
    """Float32 [n, C * SIDE * SIDE] a chunk: each channel's mean is 0, each image's length 1."""
    for start in range(0, len(images), CHUNK):
        chunk = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK])).permute(0, 3, 1, 2).float()
        small = torch.nn.functional.adaptive_avg_pool2d(chunk, SIDE)
        yield torch.nn.functional.normalize((small - small.mean((2, 3), keepdim=True)).flatten(1))


def _pairs(ours: torch.Tensor, theirs: torch.Tensor, *, within: bool) -> Pairs:
    found = []
    for start in range(0, len(ours), BLOCK):
        after = start if within else 0
        cosines = ours[start : start + BLOCK] @ theirs[after:].T
        # Rounding makes equal images a little unequal to 1, never to less than SIMILAR.
        rows, columns = torch.nonzero(cosines >= SIMILAR, as_tuple=True)
        found.append(torch.stack([rows + start, columns + after, cosines[rows, columns].double()]))
    first, second, similarity = torch.cat(found, 1).numpy() if found else np.empty((3, 0))
    kept = first < second if within else np.ones(len(first), bool)
    return _sorted(first[kept].astype(np.int64), second[kept].astype(np.int64), similarity[kept].astype(np.float32))


def _sorted(first: NDArray[np.int64], second: NDArray[np.int64], similarity: NDArray[np.float32]) -> Pairs:
    order = np.lexsort((second, first, -similarity))
    return Pairs(first[order], second[order], similarity[order])
