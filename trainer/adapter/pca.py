"""Fitting: what makes a collection's adapter from its base vectors."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from catalog.images import Image
from catalog.vectors.projection import Projection, normalised
from trainer.index.base_vectors import Matrix, StoredVectors

DIMENSION = 256
# A fit goes over the rows twice, and then learns for about as long as that takes.
PASSES = 4

Moment = npt.NDArray[np.float64]
# Told how many rows were gone over.
Report = Callable[[int], None]


@dataclass(frozen=True)
class Fitted:
    """An adapter. quality: figures to keep with the index, as JSON has them."""

    projection: Projection
    quality: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Previous:
    """What serves the collection now. images: rows of the revision that is finetuned.

    revision: that it learnt from. changed: the share of the rows, 0 to 1, that came or changed since. unseen: some of
    those rows.
    """

    fitted: Fitted
    revision: int
    images: int
    changed: float
    unseen: list[Image]

    def kept(self, unseen: object) -> Fitted:
        """It serves on. unseen: how it does with what it has not learnt from."""
        found = {"kept": True, "changed": self.changed, "unseen": unseen}
        return Fitted(self.fitted.projection, self.fitted.quality | found)


class Fit(Protocol):
    """Makes an adapter."""

    async def fit(self, vectors: StoredVectors, dim: int, previous: Previous | None, report: Report) -> Fitted:
        """From the base vectors, of length `dim`, of at least one image.

        previous: what serves the collection now with this backbone. report: told of each row PASSES times.
        """
        ...


class PrincipalComponents:
    """The projection to the directions of most energy: PCA without centring, to at most 256 dimensions.

    Uncentred, so that scores stay the cosine similarities that they approximate, and one image is enough. The matrix
    is orthonormal whatever the images; equal images in equal order give an equal matrix.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def fit(self, vectors: StoredVectors, dim: int, previous: Previous | None, report: Report) -> Fitted:  # noqa: ARG002
        """From the second moment of the unit vectors, page by page: memory does not grow with the collection."""
        moment, count = await self.moment(vectors, dim, lambda rows: report(rows * PASSES))
        directions = await asyncio.get_running_loop().run_in_executor(
            self._executor, principal_directions, moment, DIMENSION
        )
        return Fitted(Projection(directions), {"adapter": "pca", "images": count})

    async def moment(self, vectors: StoredVectors, dim: int, report: Report) -> tuple[Moment, int]:
        """The second moment [dim, dim] of the unit vectors, summed, and how many there are."""
        loop = asyncio.get_running_loop()
        moment = np.zeros((dim, dim))
        count = 0
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                await loop.run_in_executor(self._executor, accumulate, moment, page.vectors)
                count += len(page.images)
                report(page.rows)
        return moment, count


def principal_directions(moment: Moment, count: int) -> Matrix:
    """The `count` (at most dim) orthonormal directions [dim, count] of largest second moment, largest first."""
    _, directions = np.linalg.eigh(moment)
    # Ascending: the last are the largest.
    kept = directions[:, ::-1][:, :count]
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=0, keepdims=True), axis=0)
    return np.ascontiguousarray(kept * np.where(largest < 0, -1.0, 1.0), dtype=np.float32)


def accumulate(moment: Moment, vectors: Matrix) -> None:
    """Adds vectors [n, dim], brought to length 1, to the second moment [dim, dim]."""
    unit = normalised(vectors)
    # A page's product loses nothing that matters in single precision; a million pages' sum would.
    moment += unit.T @ unit
