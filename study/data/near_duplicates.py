"""Pairs of images that show the same picture, up to brightness, recompression and small shifts and crops.

Candidates are found among all pairs. Each image becomes its 8 x 8 miniature, without its mean colour, in PCA's first
components scaled to equal variance (whitening), of length 1. What most images share, such as a bright sky above, then
counts little, and what few share counts much. Two images are candidates where the cosine of their vectors is SIMILAR
or more; in a data set whose images all resemble each other, as digits do, where it is nearer to 1 than is usual for
the nearest of some hundred other images. Between two sets the images of one of them are shifted as well, as the vectors
bear a shift of one pixel in 32.

A candidate is a near duplicate where the pixels themselves, laid over each other as well as they fit, correlate. This
leaves out pairs that agree in their miniatures only, such as two noisy images of one smooth pattern.

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
# The distance (1 - cosine) of a candidate, at most, as a share of the median distance to the nearest among SAMPLE
# images of the same set. On CIFAR-10 this gives SIMILAR again.
NEARER, SAMPLE = 0.3, 500
# More than this is never asked for: it holds where more than half of a small set are copies of each other.
MOST_SIMILAR = 0.95
SHIFT = 1 / 16  # of the height or width, the larger one
COMPARED_SIDE, CORRELATED = 32, 0.65  # pixels at most, and the least correlation of a pair's pixels
ROWS, COLUMNS = 1_000, 2_000  # of the matrix of cosines that are made at a time, so that they stay in the cache
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

    @classmethod
    def none(cls) -> "Pairs":
        return cls.from_lists([[], [], []])

    @classmethod
    def from_lists(cls, lists: list[list[float]]) -> "Pairs":
        """The pairs whose `as_lists` these are."""
        first, second, similarity = lists
        return cls(np.array(first, np.int64), np.array(second, np.int64), np.array(similarity, np.float32))

    def as_lists(self) -> list[list[float]]:
        """JSON-ready: first, second and similarity."""
        return [self.first.tolist(), self.second.tolist(), self.similarity.tolist()]

    def where(self, chosen: NDArray[np.bool_]) -> "Pairs":
        return Pairs(self.first[chosen], self.second[chosen], self.similarity[chosen])


def within(images: NDArray[np.uint8]) -> Pairs:
    """The near duplicates in one set, uint8 [N, H, W, C]; each pair once, with first < second."""
    vectors = _Embedding(images)(images)
    pairs = _candidates(vectors, vectors, _threshold(vectors), within=True)
    return pairs.where(_correlate(images, images, pairs))


def between(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> Pairs:
    """The near duplicates between two sets; the embedding is fitted on `others`, the larger one."""
    embed = _Embedding(others)
    theirs = embed(others)
    threshold = _threshold(theirs)
    # Images of a few pixels are not shifted: a pixel is a large part of them.
    step = round(max(images.shape[1:3]) * SHIFT)
    shifts = sorted({(down, right) for down in (-step, 0, step) for right in (-step, 0, step)})
    found = [_candidates(embed(images, shift), theirs, threshold, within=False) for shift in shifts]
    first = np.concatenate([pairs.first for pairs in found])
    second = np.concatenate([pairs.second for pairs in found])
    similarity = np.concatenate([pairs.similarity for pairs in found])
    # Of each pair the shift that fits best.
    order = np.lexsort((-similarity, second, first))
    first, second, similarity = first[order], second[order], similarity[order]
    is_new = np.diff(first, prepend=-1).astype(bool) | np.diff(second, prepend=-1).astype(bool)
    pairs = _sorted(first[is_new], second[is_new], similarity[is_new])
    return pairs.where(_correlate(images, others, pairs))


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

    def __call__(self, images: NDArray[np.uint8], shift: tuple[int, int] = (0, 0)) -> torch.Tensor:
        return torch.cat([self._vectors(each) for each in _miniatures(images, shift)])

    def _vectors(self, miniatures: torch.Tensor) -> torch.Tensor:
        vectors = torch.nn.functional.normalize((miniatures - self.mean) @ self.weights)
        # An image of one colour resembles nothing; such images are reported on their own.
        return vectors * miniatures.any(1, keepdim=True)


def _miniatures(images: NDArray[np.uint8], shift: tuple[int, int] = (0, 0)) -> Iterator[torch.Tensor]:
    """Float32 [n, C * SIDE * SIDE] a chunk: each channel's mean is 0, each image's length 1."""
    for start in range(0, len(images), CHUNK):
        small = torch.nn.functional.adaptive_avg_pool2d(
            _as_floats(_shifted(images[start : start + CHUNK], *shift)), SIDE
        )
        yield torch.nn.functional.normalize((small - small.mean((2, 3), keepdim=True)).flatten(1))


def _as_floats(images: NDArray[np.uint8]) -> torch.Tensor:
    """Float32 [n, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()


def _threshold(vectors: torch.Tensor) -> float:
    """The least cosine of a candidate among such images; see the constants."""
    sample = vectors[:: max(1, len(vectors) // SAMPLE)][:SAMPLE]
    if len(sample) < 2:
        return SIMILAR
    nearest = (sample @ sample.T).fill_diagonal_(-1).amax(1).median()
    return min(MOST_SIMILAR, max(SIMILAR, 1 - NEARER * (1 - float(nearest))))


def _candidates(ours: torch.Tensor, theirs: torch.Tensor, threshold: float, *, within: bool) -> Pairs:
    found = [torch.empty((3, 0), dtype=torch.float64)]
    for row in range(0, len(ours), ROWS):
        for column in range(row if within else 0, len(theirs), COLUMNS):
            cosines = ours[row : row + ROWS] @ theirs[column : column + COLUMNS].T
            if cosines.amax() >= threshold:
                rows, columns = torch.nonzero(cosines >= threshold, as_tuple=True)
                found.append(torch.stack([rows + row, columns + column, cosines[rows, columns].double()]))
    first, second, similarity = torch.cat(found, 1).numpy()
    kept = first < second if within else np.ones(len(first), bool)
    return _sorted(first[kept].astype(np.int64), second[kept].astype(np.int64), similarity[kept].astype(np.float32))


def _correlate(images: NDArray[np.uint8], others: NDArray[np.uint8], pairs: Pairs) -> NDArray[np.bool_]:
    """Which pairs' pixels correlate, bool [n], where one of the two is shifted as it fits best."""
    kept = np.empty(len(pairs), bool)
    for start in range(0, len(pairs), ROWS):
        part = slice(start, start + ROWS)
        kept[part] = _correlations(_reduced(images[pairs.first[part]]), _reduced(others[pairs.second[part]])) >= (
            CORRELATED
        )
    return kept


def _reduced(images: NDArray[np.uint8]) -> torch.Tensor:
    floats = _as_floats(images)
    height, width = (min(side, COMPARED_SIDE) for side in images.shape[1:3])
    return torch.nn.functional.adaptive_avg_pool2d(floats, (height, width))


def _correlations(ours: torch.Tensor, theirs: torch.Tensor) -> NDArray[np.float32]:
    """Pearson's correlation of each pair of images, each channel without its mean; of all shifts the largest."""
    height, width = ours.shape[2:]
    step = round(max(height, width) * SHIFT)
    best = torch.full((len(ours),), -1.0)
    for down in range(-step, step + 1):
        for right in range(-step, step + 1):
            one = ours[:, :, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
            other = theirs[:, :, max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
            one, other = (
                torch.nn.functional.normalize((each - each.mean((2, 3), keepdim=True)).flatten(1))
                for each in (one, other)
            )
            best = torch.maximum(best, (one * other).sum(1))
    found: NDArray[np.float32] = best.numpy()
    return found


def _sorted(first: NDArray[np.int64], second: NDArray[np.int64], similarity: NDArray[np.float32]) -> Pairs:
    order = np.lexsort((second, first, -similarity))
    return Pairs(first[order], second[order], similarity[order])
