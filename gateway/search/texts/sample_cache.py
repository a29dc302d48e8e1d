"""Samples of the vectors of generations, with which the scores of texts are compared."""

from cachetools import LRUCache

from catalog.vectors.generations import Generations
from catalog.vectors.projection import Matrix, normalised

# Enough for percentiles in steps of 0.1.
SAMPLE = 1000


class SampleCache:
    """Keep the most recently used samples in memory. A generation never changes, so no entry becomes stale."""

    def __init__(self, vectors: Generations, *, max_bytes: int) -> None:
        self._vectors = vectors
        self._cached: LRUCache[tuple[str, str], Matrix] = LRUCache(max_bytes, getsizeof=lambda sample: sample.nbytes)

    async def get(self, generation: str, using: str) -> Matrix:
        """Return the unit vectors [n, dim] of up to SAMPLE points. using: the name of the vectors.

        Raises as `Generations.sample`.
        """
        found = self._cached.get((generation, using))
        if found is not None:
            return found
        sample = normalised(await self._vectors.sample(generation, SAMPLE, using))
        if sample.nbytes <= self._cached.maxsize:
            self._cached[generation, using] = sample
        return sample
