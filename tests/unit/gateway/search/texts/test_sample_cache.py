"""The samples of the generations that searches use stay in the cache, and those of replaced ones leave it."""

from typing import cast

import numpy as np

from catalog.indexes import Index
from catalog.vectors.generations import Generations
from catalog.vectors.projection import Matrix
from gateway.search.texts.sample_cache import SampleCache


class Sampled:
    """Generations with samples of 40 bytes. Records which ones were read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def sample(self, name: str, _count: int, using: str) -> Matrix:
        self.read.append(f"{name} {using}")
        return np.ones((1, 10), np.float32)


def index(collection: int, generation: int) -> Index:
    name = f"c{collection}-g{generation}"
    return Index(generation, collection, 1, name, adapter_id=None, backbone="b", dim=10)


async def test_a_sample_stays_until_its_generation_is_replaced() -> None:
    stored = Sampled()
    cache = SampleCache(cast("Generations", stored), max_bytes=1000)
    for generation in (1, 1, 2, 2, 3):
        for using in ("tuned", "shared"):
            assert (await cache.get(index(7, generation), using)).shape == (1, 10)
    assert stored.read == [f"c7-g{generation} {using}" for generation in (1, 2, 3) for using in ("tuned", "shared")]
    assert cache.bytes == 80
