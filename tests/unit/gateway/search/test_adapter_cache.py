"""The adapters that are used stay in the cache."""

import numpy as np

from catalog.adapters import StoredAdapter
from catalog.vectors.projection import Projection
from gateway.search.adapter_cache import AdapterCache


class Stored:
    """Adapters of 400 bytes each; number 0 was deleted. Records which ones were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    async def get(self, adapter_id: int) -> StoredAdapter | None:
        self.read.append(adapter_id)
        if adapter_id == 0:
            return None
        matrix = np.full((10, 10), adapter_id, np.float32)
        return StoredAdapter(adapter_id, "b", Projection(matrix).to_bytes())


async def test_the_adapter_of_the_least_recently_searched_collection_is_evicted_first() -> None:
    stored = Stored()
    cache = AdapterCache(stored, max_bytes=1000)
    for adapter_id in (1, 2, 1, 3, 1, 2):
        found = await cache.get(10 * adapter_id, adapter_id)
        assert found is not None
        assert found.matrix[0, 0] == adapter_id
    assert stored.read == [1, 2, 3, 2]


async def test_a_replaced_adapter_leaves_the_cache() -> None:
    stored = Stored()
    cache = AdapterCache(stored, max_bytes=1_000_000)
    for adapter_id in (1, 2, 3, 3):
        found = await cache.get(7, adapter_id)
        assert found is not None
        assert found.matrix[0, 0] == adapter_id
    assert stored.read == [1, 2, 3]
    assert cache.bytes == 400


async def test_a_deleted_adapter_is_not_cached() -> None:
    stored = Stored()
    cache = AdapterCache(stored, max_bytes=1000)
    assert await cache.get(7, 0) is None
    assert await cache.get(7, 0) is None
    assert stored.read == [0, 0]


async def test_an_adapter_larger_than_the_cache_is_returned() -> None:
    cache = AdapterCache(Stored(), max_bytes=10)
    assert await cache.get(7, 1) is not None
    assert await cache.get(8, 2) is not None
    assert cache.bytes == 0
