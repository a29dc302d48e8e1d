"""Near pairs: all pairs of vectors above a similarity, without comparing every vector with every other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.vectors.projection import Matrix

Rows = npt.NDArray[np.int64]
# float16 or float32.
UnitVectors = npt.NDArray[np.floating]

# Up to this many vectors, all pairs are compared.
ALL_PAIRS = 8192
# Above, each vector is in the cells of this many nearest pivots.
CELLS_OF_VECTOR = 6
BLOCK = 1024
# So many pairs are kept of a vector in a cell, the nearest ones, and so many for each vector on average, but at least
# FEW_PAIRS. This bounds memory if thousands of images are alike.
MOST_PAIRS = 32
PAIRS_OF_VECTOR = 10
FEW_PAIRS = 1_000_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of vectors. first < second: their positions [n]. scores: cosine similarities [n], float32."""

    first: Rows
    second: Rows
    scores: Matrix

    def __len__(self) -> int:
        return len(self.first)


class NearPairs:
    """Collects the near pairs of a set. If there are far too many, only the nearest are kept."""

    def __init__(self, vectors: UnitVectors, least: float) -> None:
        """vectors: [n, dim]. least: the similarity that makes a pair near; it rises if there are too many pairs."""
        self.least = least
        self._vectors = vectors
        self._most = max(len(vectors) * PAIRS_OF_VECTOR, FEW_PAIRS)
        self._parts: list[Pairs] = []

    def compare(self, some: Sequence[Rows]) -> None:
        """Compare the vectors of each of these cells."""
        for rows in some:
            self._parts.append(pairs_in_cell(self._vectors, rows, self.least))
            if sum(map(len, self._parts)) > 2 * self._most:
                self._keep_nearest()

    def pairs(self) -> Pairs:
        """Return each pair once, by position."""
        return merged(self._parts)

    def _keep_nearest(self) -> None:
        pairs = merged(self._parts)
        if len(pairs) > self._most:
            nearest = np.argpartition(-pairs.scores, self._most - 1)[: self._most]
            pairs = Pairs(pairs.first[nearest], pairs.second[nearest], pairs.scores[nearest])
            self.least = float(pairs.scores.min())
        self._parts = [pairs]


def cells(vectors: UnitVectors) -> list[Rows]:
    """Return groups of the positions of unit vectors [n, dim]. Near vectors nearly always have a group in common.

    The pivots of the groups are vectors of the set, evenly spaced, so that dense regions have more of them. Positions
    ascend within a group.
    """
    count = len(vectors)
    if count <= ALL_PAIRS:
        return [np.arange(count)]
    # As many as make comparisons with pivots and comparisons in cells take equally long.
    number = round(CELLS_OF_VECTOR * (count / 2) ** 0.5)
    pivots = vectors[np.linspace(0, count - 1, number, dtype=np.int64)].astype(np.float32)
    nearest = np.empty((count, CELLS_OF_VECTOR), np.int32)
    for start in range(0, count, BLOCK):
        scores = vectors[start : start + BLOCK].astype(np.float32) @ pivots.T
        nearest[start : start + BLOCK] = np.argpartition(-scores, CELLS_OF_VECTOR - 1, axis=1)[:, :CELLS_OF_VECTOR]
    order = np.argsort(nearest.ravel(), kind="stable")
    starts = np.searchsorted(nearest.ravel()[order], np.arange(1, number))
    groups = np.split(order // CELLS_OF_VECTOR, starts)
    # Nearly equal vectors may all have the same pivots. Time and memory for such a group stay bounded.
    parts = (part for group in groups for part in np.array_split(group, len(group) // ALL_PAIRS + 1))
    return [rows for rows in parts if len(rows) > 1]


def pairs_in_cell(vectors: UnitVectors, rows: Rows, least: float) -> Pairs:
    """Return the pairs of unit vectors [n, dim] among `rows`, which ascend, whose similarity is at least `least`."""
    chosen = vectors[rows].astype(np.float32)
    found = list(_found(chosen, least))
    first = np.concatenate([block.first for block in found])
    second = np.concatenate([block.second for block in found])
    return Pairs(rows[first], rows[second], np.concatenate([block.scores for block in found]))


def _found(vectors: Matrix, least: float) -> Iterator[Pairs]:
    for start in range(0, len(vectors), BLOCK):
        scores = vectors[start : start + BLOCK] @ vectors[start:].T
        # Each pair once, and no vector with itself.
        near = np.triu(scores >= least, k=1)
        crowded = np.flatnonzero(near.sum(axis=1) > MOST_PAIRS)
        if len(crowded):
            ranked = np.where(near[crowded], scores[crowded], -np.inf)
            nearest = np.argpartition(-ranked, MOST_PAIRS - 1, axis=1)[:, :MOST_PAIRS]
            near[crowded] = False
            near[crowded[:, np.newaxis], nearest] = True
        first, second = np.nonzero(near)
        yield Pairs(first + start, second + start, np.minimum(scores[first, second], 1.0))


def merged(parts: list[Pairs]) -> Pairs:
    """Return the pairs of all cells, each pair once, by position."""
    first = np.concatenate([np.zeros(0, np.int64), *(part.first for part in parts)])
    second = np.concatenate([np.zeros(0, np.int64), *(part.second for part in parts)])
    scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
    order = np.lexsort((second, first))
    first, second, scores = first[order], second[order], scores[order]
    new = np.ones(len(first), dtype=bool)
    new[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
    return Pairs(first[new], second[new], scores[new])
