"""Fitting: what makes a collection's adapter from its base vectors."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from similis.catalog.projection import Projection, normalised
from similis.trainer.stored_vectors import Matrix, StoredVectors

DIMENSION = 256

Moment = npt.NDArray[np.float64]
# Told how many rows were gone over.
Report = Callable[[int], None]


@dataclass(frozen=True)
class Fitted:
    """An adapter. quality: figures to keep with the index, as JSON has them."""

    projection: Projection
    quality: dict[str, object] = field(default_factory=dict)


class Fit(Protocol):
    """Makes an adapter."""

    async def fit(self, vectors: StoredVectors, dim: int, report: Report) -> Fitted:
        """From the base vectors, of length `dim`, of at least one image."""
        ...


class PrincipalComponents:
    """The projection to the directions of most energy: PCA without centring, to at most 256 dimensions.

    Uncentred, so that scores stay the cosine similarities that they approximate, and one image is enough. The matrix
    is orthonormal whatever the images; equal images in equal order give an equal matrix.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def fit(self, vectors: StoredVectors, dim: int, report: Report) -> Fitted:
        """From the second moment of the unit vectors, page by page: memory does not grow with the collection."""
        loop = asyncio.get_running_loop()
        moment = np.zeros((dim, dim))
        count = 0
        async for page in vectors.pages():
            await loop.run_in_executor(self._executor, _accumulate, moment, page.vectors)
            count += len(page.images)
            report(page.rows)
        return await loop.run_in_executor(self._executor, principal_components, moment, count)


def principal_components(moment: Moment, count: int) -> Fitted:
    """The projection from the second moment [dim, dim], summed over `count` unit vectors."""
    values, directions = np.linalg.eigh(moment / max(count, 1))
    size = min(DIMENSION, len(moment))
    # Ascending: the last are the largest.
    kept = directions[:, ::-1][:, :size]
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=0, keepdims=True), axis=0)
    matrix = (kept * np.where(largest < 0, -1.0, 1.0)).astype(np.float32)
    total = float(values.sum())
    energy = float(values[::-1][:size].sum()) / total if total > 0 else 1.0
    return Fitted(Projection(matrix), {"adapter": "pca", "images": count, "energy": round(energy, 6)})


def _accumulate(moment: Moment, vectors: Matrix) -> None:
    unit = normalised(vectors)
    # A page's product loses nothing that matters in single precision; a million pages' sum would.
    moment += unit.T @ unit
