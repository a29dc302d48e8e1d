"""The points of a generation that are nearest to a query: in the tuned space, in that of texts, or in both."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from catalog.indexes import Index
from catalog.vectors.client import VectorsDamaged, VectorsMissing
from catalog.vectors.generations import Generations, Hit
from gateway.search.concurrency import concurrently
from gateway.search.index.held_vectors import HeldVectors
from gateway.search.query_vectors import QueryPart, QueryVector
from gateway.search.texts.sample_cache import SampleCache
from gateway.search.texts.score_distribution import FusedScale, Percentiles, ScoreDistribution

# How many of the nearest points of each part of a mixed query are compared in both spaces. With more of them, the
# results before would change, so there is only one step for those who page further.
USUAL_CANDIDATES, MOST_CANDIDATES = 400, 2000
# To find more points among those in memory would hold up the event loop.
MOST_FROM_MEMORY = 1000


class PointSearch:
    """Finds points. Every method raises as those of `Generations`."""

    def __init__(self, vectors: Generations, held: HeldVectors, samples: SampleCache) -> None:
        self._vectors = vectors
        self._held = held
        self._samples = samples

    async def nearest(self, index: Index, query: QueryVector, limit: int) -> tuple[list[Hit], QueryVector]:
        """Return up to `limit` points, best first, and the query with the scale of their scores."""
        if query.text is not None and query.images is not None:
            return await self._of_both(index, query.images, query.text, limit), replace(query, scale=FusedScale())
        if query.text is not None:
            scale = await self._distribution(index, query.text)
            return await self._of_part(index, query.text, limit), replace(query, scale=scale)
        return await self._of_images(index, query.alone, limit), query

    async def _of_images(self, index: Index, part: QueryPart, limit: int) -> list[Hit]:
        """Return points like `_of_part`, without a call if the generation is held in memory."""
        if limit > MOST_FROM_MEMORY:
            return await self._of_part(index, part, limit)
        name, space = index.qdrant_collection, part.space
        held = self._held.get(name, space)
        if held is not None:
            return held.nearest(part.vector, limit)
        try:
            hits = await self._of_part(index, part, limit)
        except (VectorsMissing, VectorsDamaged):
            self._held.forget(name, space)
            raise
        self._held.answered(name, space)
        # Scores differ in their last digits. Once the vectors are held, an answer does not depend on when it is given.
        held = self._held.get(name, space)
        return hits if held is None else held.nearest(part.vector, limit)

    async def _of_part(self, index: Index, part: QueryPart, limit: int) -> list[Hit]:
        return await self._vectors.query(index.qdrant_collection, part.vector, limit, None, using=part.space)

    async def _of_both(self, index: Index, images: QueryPart, text: QueryPart, limit: int) -> list[Hit]:
        """Return points by the weighted mean of their percentiles in the two spaces."""
        depth = USUAL_CANDIDATES if limit <= USUAL_CANDIDATES else MOST_CANDIDATES
        wanted = [part for part in (images, text) if part.weight > 0]
        found = await concurrently((partial(self._of_part, index, part, depth) for part in wanted), at_once=2)
        ids = sorted({hit.image_id for hits in found for hit in hits})
        if not ids:
            return []
        parts = (images, text)
        percentiles = await concurrently((partial(self._percentiles, index, part, ids) for part in parts), at_once=2)
        fused = np.average(percentiles, axis=0, weights=[abs(part.weight) for part in parts]) / 100
        order = np.argsort(-fused, kind="stable")[:limit]
        return [Hit(ids[place], float(fused[place])) for place in order]

    async def _percentiles(self, index: Index, part: QueryPart, ids: Sequence[int]) -> Percentiles:
        """Return how well images match a part of a query, 0 to 100. A negative part wants the opposite."""
        distribution = await self._distribution(index, part)
        stored = await self._vectors.read(index.qdrant_collection, ids, part.space)
        scores = np.stack([stored[identifier] for identifier in ids]) @ part.vector
        percentiles = distribution.percentiles(scores)
        return percentiles if part.weight > 0 else 100 - percentiles

    async def _distribution(self, index: Index, part: QueryPart) -> ScoreDistribution:
        return ScoreDistribution(await self._samples.get(index, part.space) @ part.vector)
