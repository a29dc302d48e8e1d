"""Fitting: how a collection's adapter is made from its base vectors."""

import asyncio
from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from catalog.images import Image
from catalog.vectors.projection import Matrix, Projection
from trainer.adapter.object_number import object_number
from trainer.index.base_vectors import StoredVectors
from trainer.learning.dataset import MAX_GROUP_SHARE, Labels
from trainer.learning.directions import DIMENSION, Moment, accumulate, principal_directions

# A fit reads the rows twice. The training after it takes about as long as both.
PASSES = 4

# Receives the number of rows that were read.
Report = Callable[[int], None]


@dataclass(frozen=True)
class Fitted:
    """An adapter. quality: metrics and facts to store with the index, as JSON stores them."""

    projection: Projection
    quality: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Previous:
    """The adapter that serves the collection now. images: rows of the revision that is finetuned.

    revision: the one that it was trained on. changed: the share of the rows, 0 to 1, that were added or changed since.
    unseen: some of those rows.
    """

    fitted: Fitted
    revision: int
    images: int
    changed: float
    unseen: list[Image]

    def kept(
        self, unseen: object, calibrated: Mapping[str, object] | None = None, mean: Matrix | None = None
    ) -> Fitted:
        """Return the same adapter.

        unseen: the gate's metrics on images that it was not trained on. calibrated: a calibration that replaces the one
        from before. mean: the mean direction that belongs to it.
        """
        found = {"kept": True, "changed": self.changed, "unseen": unseen}
        projection = self.fitted.projection if mean is None else replace(self.fitted.projection, mean=mean)
        return Fitted(projection, self.fitted.quality | found | dict(calibrated or {}))


class Fit(Protocol):
    """A way to make an adapter."""

    async def fit(self, vectors: StoredVectors, dim: int, previous: Previous | None, report: Report) -> Fitted:
        """Fit an adapter to the base vectors, of length `dim`, of at least one image.

        previous: the adapter that serves the collection now with this backbone. report: receives each row PASSES times.
        """
        ...


@dataclass(frozen=True)
class Survey:
    """The results of one pass over a collection.

    moment: the second moment [dim, dim] of the unit vectors, summed. images: how many there are. spanning: the number
    of the object that most images belong to by their repository URL, if there is one.
    """

    moment: Moment
    images: int
    spanning: int | None


class PrincipalComponents:
    """Projects onto the principal directions: PCA without centring, to at most 256 dimensions.

    Without centring, scores still approximate the backbone's cosine similarities, and one image is enough. The matrix
    is orthonormal for any images. Equal images in equal order produce an equal matrix.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def fit(self, vectors: StoredVectors, dim: int, previous: Previous | None, report: Report) -> Fitted:  # noqa: ARG002
        """See `Fit`. Reads page by page, so that memory does not grow with the collection."""
        found = await self.survey(vectors, dim, lambda rows: report(rows * PASSES))
        directions = await asyncio.get_running_loop().run_in_executor(
            self._executor, principal_directions, found.moment, DIMENSION
        )
        return Fitted(Projection(directions), {"adapter": "pca", "images": found.images})

    async def survey(self, vectors: StoredVectors, dim: int, report: Report) -> Survey:
        """Read all base vectors once."""
        loop = asyncio.get_running_loop()
        moment = np.zeros((dim, dim))
        # Eight bytes for each image: two million of them are little.
        objects = array("q")
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                await loop.run_in_executor(self._executor, accumulate, moment, page.vectors)
                objects.extend(object_number(image.repo_url) for image in page.images)
                report(page.rows)
        return Survey(moment, len(objects), spanning_object(np.array(objects, dtype=np.int64)))


def spanning_object(objects: Labels) -> int | None:
    """Return the object among int64 [n] that spans more than MAX_GROUP_SHARE of them, or None."""
    numbers, counts = np.unique(objects, return_counts=True)
    if not len(counts) or counts.max() <= MAX_GROUP_SHARE * len(objects):
        return None
    return int(numbers[counts.argmax()])
