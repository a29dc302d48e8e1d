"""A cache of the adapters that searches use."""

from typing import Protocol

from cachetools import LRUCache

from catalog.adapters import StoredAdapter
from catalog.vectors.projection import Projection


class AdapterStore(Protocol):
    """Stores adapters."""

    async def get(self, adapter_id: int) -> StoredAdapter | None: ...


class AdapterCache:
    """Keep the most recently used adapters in memory. An adapter never changes, so no entry becomes stale."""

    def __init__(self, adapters: AdapterStore, *, max_bytes: int) -> None:
        self._adapters = adapters
        self._cached: LRUCache[int, Projection] = LRUCache(max_bytes, getsizeof=_size)

    async def get(self, adapter_id: int) -> Projection | None:
        """Return the adapter; None: it was deleted. Raises what `Database.connection` raises."""
        found = self._cached.get(adapter_id)
        if found is not None:
            return found
        stored = await self._adapters.get(adapter_id)
        if stored is None:
            return None
        projection = Projection.from_bytes(stored.weights)
        if _size(projection) <= self._cached.maxsize:
            self._cached[adapter_id] = projection
        return projection


def _size(projection: Projection) -> int:
    return projection.matrix.nbytes
