"""Principal directions: the uncentred PCA of unit vectors, from their second moment."""

import numpy as np
import numpy.typing as npt

from catalog.vectors.projection import normalised
from trainer.learning.dataset import Matrix, TrainingSet

DIMENSION = 256
BLOCK = 512

Moment = npt.NDArray[np.float64]


def principal_directions(moment: Moment, count: int) -> Matrix:
    """Return the `count` (at most dim) orthonormal directions [dim, count] of largest second moment, largest first."""
    _, directions = np.linalg.eigh(moment)
    # eigh sorts ascending.
    kept = directions[:, ::-1][:, :count]
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=0, keepdims=True), axis=0)
    return np.ascontiguousarray(kept * np.where(largest < 0, -1.0, 1.0), dtype=np.float32)


def accumulate(moment: Moment, vectors: Matrix) -> None:
    """Add vectors [n, dim], scaled to length 1, to the second moment [dim, dim]."""
    unit = normalised(vectors)
    # Single precision is enough for the product within a page, but not for the sum over a million pages.
    moment += unit.T @ unit


def directions_of(data: TrainingSet, count: int) -> Matrix:
    """Return the principal directions [dim, count] of a training set's images and views."""
    dim = data.vectors.shape[1]
    moment = np.zeros((dim, dim))
    for rows in (data.vectors, data.views.reshape(-1, dim)):
        for start in range(0, len(rows), BLOCK):
            accumulate(moment, rows[start : start + BLOCK].astype(np.float32))
    return principal_directions(moment, count)
