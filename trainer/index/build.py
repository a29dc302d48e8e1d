"""Indexing: a new generation from base vectors and an adapter, complete before anybody may search it."""

import asyncio
from concurrent.futures import Executor
from contextlib import aclosing

from catalog.indexes import Index
from catalog.vectors.generations import Generations
from catalog.vectors.projection import Projection
from trainer.adapter.pca import Report
from trainer.index.base_vectors import StoredVectors
from trainer.jobs.retry import Patience


class Indexing:
    """Writes generations."""

    def __init__(self, generations: Generations, patience: Patience, executor: Executor) -> None:
        self._generations = generations
        self._patience = patience
        self._executor = executor

    async def run(self, index: Index, vectors: StoredVectors, projection: Projection, report: Report) -> int:
        """Writes, settles and counts the index's generation; gives how many images are in it.

        Raises GenerationIncomplete when Qdrant does not hold what was written.
        """
        name = index.qdrant_collection
        loop = asyncio.get_running_loop()
        await self._patience.persist(self._new, name, projection.matrix.shape[1])
        count = 0
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                ids = [image.id for image in page.images]
                tuned = await loop.run_in_executor(self._executor, projection.apply, page.vectors)
                await self._patience.persist(self._generations.put, name, ids, tuned)
                count += len(ids)
                report(page.rows)
        await self._patience.persist(self._generations.wait_until_indexed, name, count)
        return count

    async def _new(self, name: str, dim: int) -> None:
        # What an earlier try may have left is not known, so it is not built upon.
        await self._generations.drop(name)
        await self._generations.create(name, dim)
