"""The index builder: writes a new generation from base vectors and an adapter, complete before it can be searched."""

import asyncio
from concurrent.futures import Executor
from contextlib import aclosing

from catalog.indexes import Index
from catalog.vectors.generations import Generations
from catalog.vectors.projection import Projection
from trainer.adapter.pca import Report
from trainer.index.base_vectors import StoredVectors
from trainer.jobs.retry import Retry


class IndexBuilder:
    """Writes generations."""

    def __init__(self, generations: Generations, retry: Retry, executor: Executor) -> None:
        """executor: for numerical work."""
        self._generations = generations
        self._retry = retry
        self._executor = executor

    async def run(self, index: Index, vectors: StoredVectors, projection: Projection, report: Report) -> int:
        """Write the index's generation, wait until Qdrant has built its graph, and return its number of images.

        report: called with the number of rows of each page. Raises GenerationIncomplete when Qdrant does not hold what
        was written.
        """
        name = index.qdrant_collection
        loop = asyncio.get_running_loop()
        await self._retry.call(self._create_anew, name, projection.matrix.shape[1])
        count = 0
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                ids = [image.id for image in page.images]
                tuned = await loop.run_in_executor(self._executor, projection.apply, page.vectors)
                await self._retry.call(self._generations.put, name, ids, tuned)
                count += len(ids)
                report(page.rows)
        await self._retry.call(self._generations.wait_until_indexed, name, count)
        return count

    async def _create_anew(self, name: str, dim: int) -> None:
        # Retried as a whole: an attempt whose answer was lost may have created the collection.
        await self._generations.drop(name)
        await self._generations.create(name, dim)
