"""Pictures: near-duplicate images count as one in training, evaluation and calibration."""

import numpy as np

from trainer.learning.dataset import Labels, Matrix, UnitVectors

# Above this cosine similarity in the frozen space, two images are the same picture, resized or compressed again.
SAME_PICTURE = 0.98
# Up to this many images, all pairs are compared. Above, only pairs on the same side of all random planes.
ALL_PAIRS = 4000
PLANES = 16
BLOCK = 256


def same_pictures(vectors: UnitVectors) -> Labels:
    """Return for each unit vector [n, dim] the position of the first image that shows the same picture, int64 [n].

    Near-duplicates are not chained: every image is similar enough to the first image of its picture. Above ALL_PAIRS
    images some near-duplicates may be missed, but no equal images.
    """
    pictures = np.arange(len(vectors), dtype=np.int64)
    if len(vectors) <= ALL_PAIRS:
        _join(vectors, np.arange(len(vectors)), pictures)
        return pictures
    sides = _sides(vectors)
    order = np.argsort(sides, kind="stable")
    starts = np.flatnonzero(np.diff(sides[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            _join(vectors, rows, pictures)
    return pictures


def _sides(vectors: UnitVectors) -> Labels:
    """Return for each vector a number [n] whose bits say on which side of each plane it is."""
    dim = vectors.shape[1]
    mean = vectors[:: max(len(vectors) // ALL_PAIRS, 1)].astype(np.float32).mean(axis=0)
    planes = np.random.default_rng(0).normal(size=(dim, PLANES)).astype(np.float32)
    sides = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float32) - mean
        sides[start : start + BLOCK] = (block @ planes > 0) @ (1 << np.arange(PLANES))
    return sides


def _join(vectors: UnitVectors, rows: Labels, pictures: Labels) -> None:
    """Set the picture of each of the rows, in ascending order, to the first row that is similar enough."""
    chosen: Matrix = vectors[rows].astype(np.float32)
    free = np.ones(len(rows), dtype=bool)
    for start in range(0, len(rows), BLOCK):
        close = chosen[start : start + BLOCK] @ chosen[start:].T > SAME_PICTURE
        for offset in np.flatnonzero(close.sum(axis=1) > 1):
            first = start + offset
            if free[first]:
                joined = start + np.flatnonzero(close[offset] & free[start:])
                joined = joined[joined > first]
                pictures[rows[joined]] = rows[first]
                free[joined] = False
