"""A cache of the adapters that searches use."""

from dataclasses import dataclass
from typing import Protocol

from cachetools import LRUCache

from catalog.adapters import StoredAdapter
from catalog.vectors.projection import Projection


class AdapterStore(Protocol):
    """Stores adapters."""

    async def get(self, adapter_id: int) -> StoredAdapter | None: ...


@dataclass(frozen=True)
class _Cached:
    """An adapter and its id."""

    id: int
    projection: Projection


class AdapterCache:
    """Keep the adapters of the most recently searched collections in memory, one for each: a finetune replaces it."""

    def __init__(self, adapters: AdapterStore, *, max_bytes: int) -> None:
        self._adapters = adapters
        self._cached: LRUCache[int, _Cached] = LRUCache(max_bytes, getsizeof=_size)

    @property
    def bytes(self) -> int:
        """How many bytes it holds."""
        return int(self._cached.currsize)

    async def get(self, collection_id: int, adapter_id: int) -> Projection | None:
        """Return an adapter of a collection; None: it was deleted. Raises what `Database.connection` raises."""
        found = self._cached.get(collection_id)
        if found is not None and found.id == adapter_id:
            return found.projection
        stored = await self._adapters.get(adapter_id)
        if stored is None:
            return None
        loaded = _Cached(adapter_id, Projection.from_bytes(stored.weights))
        if _size(loaded) <= self._cached.maxsize:
            self._cached[collection_id] = loaded
        return loaded.projection


def _size(cached: _Cached) -> int:
    return cached.projection.matrix.nbytes
