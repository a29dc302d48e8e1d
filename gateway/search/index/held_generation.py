"""All vectors of one generation in memory, and an exact search among them.

To read all vectors takes most of the time, because between two searches other work fills the processor's caches. So
each vector is also kept in a rotated space in whose first coordinates the vectors differ most (their principal
components), and only these are read of all of them. The Cauchy-Schwarz inequality bounds what the other coordinates can
add to a score. Vectors whose bound is below the scores of enough others are left out; the scores of the rest are
computed from the whole vectors. So nothing is approximated (Fagin's threshold principle; Friedman et al., "An algorithm
for finding nearest neighbors", 1975, for the bound).
"""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from catalog.vectors.generations import Hit, Vector
from catalog.vectors.projection import Matrix

Ids = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

FLOAT_BYTES = 4
# How many coordinates are read of all vectors. With more there are fewer whose score has to be computed.
FIRST_COORDINATES = 64
# The smallest generation and dimension for which that is worth it.
LEAST_POINTS, LEAST_DIM = 1000, 3 * FIRST_COORDINATES
# Of so many vectors one after the other, the one with the best bound is looked at first.
GROUP = 16
# How many such vectors are looked at for each that is wanted.
LOOKED_AT = 4
# More than rounding can add to a score.
ROUNDING = 1e-5
# If more than this share of the vectors remains, it is faster to compute the scores of all.
MOST_REMAINING = 0.2


class HeldGeneration:
    """All vectors of a generation. Making one takes up to a second, so do that in a thread."""

    def __init__(self, ids: Ids, vectors: Matrix) -> None:
        """ids: [n] of the images. vectors: [n, dim], of unit length."""
        self.trusted_until = 0.0
        self.used_at = time.monotonic()
        self._ids = ids
        self._order = np.argsort(ids)
        self._vectors = vectors
        self._rotated = _Rotated(vectors) if _is_rotated(*vectors.shape) else None

    @property
    def size(self) -> int:
        """Its memory in bytes."""
        return size_of(*self._vectors.shape)

    def nearest(self, vector: Vector, limit: int) -> list[Hit]:
        """Return the `limit` points nearest to a unit vector [dim], best first, as `Generations.query` does."""
        places = None if self._rotated is None else self._rotated.candidates(self._vectors, vector, limit)
        if places is None:
            scores = self._vectors @ vector
            places = np.arange(len(scores))
        else:
            scores = self._vectors[places] @ vector
        if limit < len(scores):
            # All that score as much as the last one, and those that rounding moved below it.
            places = places[scores >= np.partition(scores, -limit)[-limit] - ROUNDING]
        return self._ranked(places, vector, limit)

    def _ranked(self, places: Places, vector: Vector, limit: int) -> list[Hit]:
        """Return the best of these points, with scores that do not depend on which other scores were computed."""
        exact = (self._vectors[places].astype(np.float64) @ vector).astype(np.float32)
        order = np.lexsort((self._ids[places], -exact))[:limit]
        found = zip(self._ids[places[order]].tolist(), np.minimum(exact[order], 1.0).tolist(), strict=True)
        return [Hit(identifier, score) for identifier, score in found]

    def of(self, ids: Sequence[int]) -> dict[int, Vector]:
        """Return the vectors [dim] of images, by id. Images without a point are left out."""
        found = np.searchsorted(self._ids, np.array(ids, dtype=np.int64), sorter=self._order)
        places = self._order[np.minimum(found, len(self._ids) - 1)]
        return {
            identifier: self._vectors[place]
            for identifier, place, held in zip(ids, places, self._ids[places], strict=True)
            if identifier == held
        }


def size_of(points: int, dim: int) -> int:
    """Return the memory of a generation in bytes."""
    numbers = points * dim
    if _is_rotated(points, dim):
        numbers += points * (FIRST_COORDINATES + 1) + dim * dim
    return FLOAT_BYTES * numbers


def _is_rotated(points: int, dim: int) -> bool:
    return points >= LEAST_POINTS and dim >= LEAST_DIM


class _Rotated:
    """The first coordinates of vectors in the space of their principal components, and the length of the others."""

    def __init__(self, vectors: Matrix) -> None:
        _, directions = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
        self._rotation: Matrix = np.ascontiguousarray(directions[:, ::-1].T, dtype=np.float32)
        rotated = vectors @ self._rotation.T
        self._first: Matrix = np.ascontiguousarray(rotated[:, :FIRST_COORDINATES])
        self._rest: Vector = np.linalg.norm(rotated[:, FIRST_COORDINATES:], axis=1)

    def candidates(self, vectors: Matrix, query: Vector, limit: int) -> Places | None:
        """Return the places of all vectors that can be among the `limit` nearest; None if they are too many to tell."""
        if LOOKED_AT * limit > MOST_REMAINING * len(vectors):
            return None
        rotated = self._rotation @ query
        rest = np.linalg.norm(rotated[FIRST_COORDINATES:])
        bounds = self._first @ rotated[:FIRST_COORDINATES]
        bounds += rest * self._rest
        likely = _likely(bounds, LOOKED_AT * limit)
        scores = vectors[likely] @ query
        reached = np.partition(scores, -limit)[-limit]
        found = np.flatnonzero(bounds >= reached - ROUNDING)
        return found if len(found) <= MOST_REMAINING * len(vectors) else None


def _likely(bounds: Vector, number: int) -> Places:
    """Return the places of about `number` high bounds, at least a quarter as many, which need not be the highest."""
    groups = bounds[: len(bounds) // GROUP * GROUP].reshape(-1, GROUP)
    best = groups.argmax(axis=1)
    best += np.arange(len(groups)) * GROUP
    if number >= len(best):
        highest: Places = np.argpartition(bounds, -number)[-number:]
        return highest
    chosen: Places = best[np.argpartition(bounds[best], -number)[-number:]]
    return chosen
