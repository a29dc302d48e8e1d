"""Adapters in memory: the few that searches use most recently."""

from collections import OrderedDict
from typing import Protocol

from catalog.adapters import StoredAdapter
from catalog.vectors.projection import Projection


class AdapterStore(Protocol):
    """Keeps adapters."""

    async def get(self, adapter_id: int) -> StoredAdapter | None: ...


class AdapterCache:
    """Projections by adapter id, least recently used first out. An adapter never changes, so none goes stale."""

    def __init__(self, adapters: AdapterStore, *, max_bytes: int) -> None:
        self._adapters = adapters
        self._max_bytes = max_bytes
        self._cached: OrderedDict[int, Projection] = OrderedDict()
        self._bytes = 0

    async def get(self, adapter_id: int) -> Projection | None:
        """The adapter, or None if it is gone. Raises what `Database.connection` raises."""
        found = self._cached.get(adapter_id)
        if found is not None:
            self._cached.move_to_end(adapter_id)
            return found
        stored = await self._adapters.get(adapter_id)
        if stored is None:
            return None
        projection = Projection.from_bytes(stored.weights)
        self._keep(adapter_id, projection)
        return projection

    def _keep(self, adapter_id: int, projection: Projection) -> None:
        if adapter_id in self._cached:
            return
        self._cached[adapter_id] = projection
        self._bytes += projection.matrix.nbytes
        while self._bytes > self._max_bytes and len(self._cached) > 1:
            _, oldest = self._cached.popitem(last=False)
            self._bytes -= oldest.matrix.nbytes
