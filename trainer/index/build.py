"""The index builder: writes a new generation from base vectors and an adapter, complete before it can be searched."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np

from catalog.indexed_images import EqualImage, IndexedImages
from catalog.indexes import Index
from catalog.vectors.generations import Generations
from catalog.vectors.projection import Projection
from servicekit.process.fault_points import FaultPoint
from trainer.adapter.pca import Report
from trainer.index.base_vectors import Matrix, VectorPage
from trainer.index.distinct_vectors import DistinctVectors
from trainer.jobs.retry import Retry

DIGEST_BYTES = 32


class VectorPages(Protocol):
    """Images and their base vectors, page by page."""

    def pages(self) -> AsyncGenerator[VectorPage, None]: ...


@dataclass(frozen=True)
class BuiltIndex:
    """An index that was written. images: how many it has. vectors: a digest of their ids and base vectors."""

    images: int
    vectors: bytes


@dataclass(frozen=True)
class _Points:
    """What to write of a page: the image ids and tuned vectors [n, dim] of its points, and images without a point.

    base: the base vectors of the points.
    """

    ids: list[int]
    vectors: Matrix
    base: Matrix
    equal: list[EqualImage]


class IndexBuilder:
    """Writes generations."""

    def __init__(
        self, generations: Generations, indexed_images: IndexedImages, retry: Retry, executor: Executor
    ) -> None:
        """executor: for numerical work."""
        self._generations = generations
        self._indexed_images = indexed_images
        self._retry = retry
        self._executor = executor

    async def run(self, index: Index, vectors: VectorPages, projection: Projection, report: Report) -> BuiltIndex:
        """Write the index's generation, and wait until Qdrant has built its graph.

        Images with equal base vectors share a point. If the backbone has a text tower, the base vectors themselves are
        written beside the tuned ones: texts are compared with these. report: called with the number of rows of each
        page. Raises GenerationIncomplete when Qdrant does not hold what was written.
        """
        name = index.qdrant_collection
        await self._retry.call(self._create_anew, name, projection.matrix.shape[1], index.shared_dim)
        distinct, digest = DistinctVectors(), blake2b(digest_size=DIGEST_BYTES)
        images = points = 0
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                points += await self._write(index, page, distinct, projection, digest)
                FaultPoint.INDEX_WRITTEN.reach()
                images += len(page.images)
                report(page.rows)
        await self._retry.call(self._generations.wait_until_indexed, name, points)
        return BuiltIndex(images, digest.digest())

    async def _write(
        self, index: Index, page: VectorPage, distinct: DistinctVectors, projection: Projection, digest: blake2b
    ) -> int:
        """Write a page and return the number of its points."""
        loop = asyncio.get_running_loop()
        points = await loop.run_in_executor(self._executor, _points, page, distinct, projection, digest)
        if points.ids:
            shared = None if index.shared_dim is None else points.base
            await self._retry.call(self._generations.put, index.qdrant_collection, points.ids, points.vectors, shared)
        if points.equal:
            await self._retry.call(self._indexed_images.add_equal, index, points.equal)
        return len(points.ids)

    async def _create_anew(self, name: str, dim: int, shared_dim: int | None) -> None:
        # Retried as a whole: an attempt whose answer was lost may have created the collection.
        await self._generations.drop(name)
        await self._generations.create(name, dim, shared_dim)


def _points(page: VectorPage, distinct: DistinctVectors, projection: Projection, digest: blake2b) -> _Points:
    ids = [image.id for image in page.images]
    digest.update(np.array(ids, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(page.vectors, dtype="<f4").data)
    new, equal = distinct.add(ids, page.vectors)
    base = page.vectors[new]
    return _Points([ids[row] for row in new], projection.apply(base), base, equal)
