"""Sets of vectors that are hard to search with a graph: groups of equal vectors and of near copies."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catalog.vectors.projection import Matrix, normalised

# Vectors of images lie near a surface of few dimensions, in clusters. So do these.
LATENT = 24
CLUSTERS = 200
SPREAD = 0.7
NOISE = 0.3
# Between any two copies of a vector.
NEAR_COSINE = 0.9998
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class HardSet:
    """Unit vectors [n, dim] in the order in which they are indexed. groups: of equal or nearly equal vectors, [n]."""

    vectors: Matrix
    groups: np.ndarray

    def queries(self, count: int, seed: int = 0) -> np.ndarray:
        """Draw up to `count` rows to ask for, at most one of each group, and one of the largest group."""
        random = np.random.default_rng(seed)
        order = random.permutation(len(self.groups))
        _, firsts, sizes = np.unique(self.groups[order], return_index=True, return_counts=True)
        rows = order[firsts]
        largest = rows[sizes.argmax()]
        others = random.permutation(rows[rows != largest])
        return np.concatenate([[largest], others[: count - 1]])


def distinct(count: int, dim: int) -> HardSet:
    """Return vectors that are all different."""
    return HardSet(_vectors(count, dim), np.arange(count))


def equal_groups(count: int, size: int, dim: int) -> HardSet:
    """Return vectors each of which stands `size` times, in rows that follow each other."""
    groups = np.repeat(np.arange(count), size)
    return HardSet(_vectors(count, dim)[groups], groups)


def placeholder(distinct_rows: int, equal_rows: int, dim: int) -> HardSet:
    """Return different vectors, and one that stands `equal_rows` times in their midst, as a placeholder would."""
    before = distinct_rows // 2
    groups = np.concatenate([np.arange(before), np.full(equal_rows, distinct_rows), np.arange(before, distinct_rows)])
    return HardSet(_vectors(distinct_rows + 1, dim)[groups], groups)


def near_copies(count: int, size: int, dim: int) -> HardSet:
    """Return groups of `size` vectors that follow each other. Any two vectors of a group have NEAR_COSINE."""
    groups = np.repeat(np.arange(count), size)
    vectors = _vectors(count, dim)[groups]
    random = np.random.default_rng(1)
    # Two vectors at this cosine from a third one, in random directions, are at NEAR_COSINE from each other.
    cosine = NEAR_COSINE**0.5
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        page = vectors[start : start + ROWS_AT_ONCE]
        aside = random.normal(size=page.shape).astype(np.float32)
        aside -= (aside * page).sum(axis=1, keepdims=True) * page
        page *= cosine
        page += (1 - cosine**2) ** 0.5 * normalised(aside)
    return HardSet(normalised(vectors), groups)


def synthetic_sets(dim: int, scale: float) -> dict[str, Callable[[], HardSet]]:
    """Return the makers of all sets by name. scale: the share of the full number of groups and rows."""

    def part(number: int) -> int:
        return max(2, round(number * scale))

    return {
        "distinct": lambda: distinct(part(60_000), dim),
        "1000x20": lambda: equal_groups(part(1000), 20, dim),
        "200x60": lambda: equal_groups(part(200), 60, dim),
        "2000x60": lambda: equal_groups(part(2000), 60, dim),
        "placeholder": lambda: placeholder(part(60_000), part(20_000), dim),
        "near": lambda: near_copies(part(10_000), 10, dim),
    }


def _vectors(count: int, dim: int) -> Matrix:
    random = np.random.default_rng(0)
    directions = random.normal(size=(LATENT, dim))
    centres = random.normal(size=(CLUSTERS, LATENT))
    places = centres[random.integers(0, CLUSTERS, count)] + SPREAD * random.normal(size=(count, LATENT))
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, ROWS_AT_ONCE):
        page = places[start : start + ROWS_AT_ONCE] @ directions
        vectors[start : start + ROWS_AT_ONCE] = page + NOISE * random.normal(size=page.shape)
    return normalised(vectors)
