"""Samples of the vectors of generations, with which the scores of texts are compared."""

from dataclasses import dataclass

from cachetools import LRUCache

from catalog.indexes import Index
from catalog.vectors.generations import Generations
from catalog.vectors.projection import Matrix, normalised

# Enough for percentiles in steps of 0.1.
SAMPLE = 1000


@dataclass(frozen=True)
class _Cached:
    """A sample [n, dim] of a generation."""

    generation: str
    sample: Matrix


class SampleCache:
    """Keep samples of the most recently searched collections in memory, of one generation each."""

    def __init__(self, vectors: Generations, *, max_bytes: int) -> None:
        self._vectors = vectors
        self._cached: LRUCache[tuple[int, str], _Cached] = LRUCache(
            max_bytes, getsizeof=lambda cached: cached.sample.nbytes
        )

    @property
    def bytes(self) -> int:
        """How many bytes it holds."""
        return int(self._cached.currsize)

    async def get(self, index: Index, using: str) -> Matrix:
        """Return the unit vectors [n, dim] of up to SAMPLE points of an index. using: the name of the vectors.

        Raises as `Generations.sample`.
        """
        key, generation = (index.collection_id, using), index.qdrant_collection
        found = self._cached.get(key)
        if found is not None and found.generation == generation:
            return found.sample
        sample = normalised(await self._vectors.sample(generation, SAMPLE, using))
        if sample.nbytes <= self._cached.maxsize:
            self._cached[key] = _Cached(generation, sample)
        return sample
