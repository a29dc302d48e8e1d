"""The vectors of small generations, held in memory: to compare a query with all of them takes less time than a call.

A generation never changes, so what is held stays right as long as the generation exists. Whether its index is still
live is found out by who reads the rows, as for every other search.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from cachetools import LRUCache

from catalog.vectors.generations import Generations
from catalog.vectors.projection import Matrix, normalised
from gateway.search.index.held_generation import HeldGeneration, size_of
from servicekit.errors import ServiceError
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A search among so many vectors takes at most 3 ms of the event loop, even if all scores have to be computed.
MOST_POINTS, MOST_BYTES = 20_000, 32 << 20
# A page of vectors takes 1 ms of the event loop.
PAGE = 250
# A generation is held once it was searched so often; if that fails, after so many more searches.
SEARCHES, SEARCHES_AFTER_FAILURE = 3, 100
# After this time, the next search asks Qdrant, which notices that it has lost a generation or is down.
TRUSTED_SECONDS = 1.0
# What was used a shorter time ago makes no room for others. Otherwise many busy collections would displace each other.
BUSY_SECONDS = 60.0
# How many generations are remembered as searched, or as too large.
REMEMBERED = 10_000

# A generation by its name, and the name of its vectors that are compared.
Key = tuple[str, str]


class HeldVectors:
    """Reads the vectors of generations that are searched, and holds as many as fit into memory.

    Loading runs in the background, one generation at a time, while entered by `open`.
    """

    def __init__(self, vectors: Generations, *, max_bytes: int) -> None:
        self._vectors = vectors
        self.max_bytes = max_bytes
        # The least recently used first.
        self._held: OrderedDict[Key, HeldGeneration] = OrderedDict()
        self._searches: LRUCache[Key, int] = LRUCache(REMEMBERED)
        self._too_large: LRUCache[Key, bool] = LRUCache(REMEMBERED)
        self._wanted: asyncio.Queue[Key] = asyncio.Queue(maxsize=1)

    @classmethod
    @asynccontextmanager
    async def open(cls, vectors: Generations, *, max_bytes: int) -> AsyncIterator["HeldVectors"]:
        """Load what is searched while entered. max_bytes: of all vectors; 0: none are held."""
        held = cls(vectors, max_bytes=max_bytes)
        async with in_background(held.load_wanted(), "held-vectors"):
            yield held

    @property
    def held_bytes(self) -> int:
        """The memory that the vectors take."""
        return sum(held.size for held in self._held.values())

    def holds(self, generation: str, using: str) -> bool:
        """Return whether a generation is held, even if Qdrant has to be asked about it."""
        return (generation, using) in self._held

    def get(self, generation: str, using: str) -> HeldGeneration | None:
        """Return a generation that is held, unless Qdrant has to be asked: at least once in a while, or at all."""
        held = self._held.get((generation, using))
        now = time.monotonic()
        if held is None or now >= held.trusted_until:
            return None
        held.used_at = now
        self._held.move_to_end((generation, using))
        return held

    def answered(self, generation: str, using: str) -> None:
        """Note that Qdrant has just answered a query, so that it has this generation."""
        key, now = (generation, using), time.monotonic()
        held = self._held.get(key)
        if held is not None:
            held.trusted_until, held.used_at = now + TRUSTED_SECONDS, now
            self._held.move_to_end(key)
            return
        searches = self._searches[key] = self._searches.get(key, 0) + 1
        if searches >= SEARCHES and self.max_bytes and key not in self._too_large and not self._wanted.full():
            self._wanted.put_nowait(key)

    def forget(self, generation: str, using: str) -> None:
        """Drop a generation that Qdrant has lost."""
        self._held.pop((generation, using), None)

    async def load_wanted(self) -> None:
        """Load generations one after the other, until cancelled."""
        while True:
            key = await self._wanted.get()
            try:
                await self._load(key)
            except ServiceError as error:
                # The next searches ask Qdrant, and say what is wrong.
                log.info("vectors_not_held", generation=key[0], code=error.code)
            self._searches[key] = -SEARCHES_AFTER_FAILURE

    async def _load(self, key: Key) -> None:
        if key in self._held:
            return
        name, using = key
        count = await self._vectors.count(name)
        if not 0 < count <= MOST_POINTS:
            self._too_large[key] = True
            return
        ids: list[int] = []
        vectors: Matrix | None = None
        async for page_ids, page in self._vectors.pages(name, using, PAGE):
            if vectors is None:
                if not self._has_room(key, size_of(count, page.shape[1])):
                    return
                # One block, because to join the pages at the end would hold up the event loop.
                vectors = np.empty((count, page.shape[1]), dtype=np.float32)
            if len(ids) + len(page) > count:
                break
            vectors[len(ids) : len(ids) + len(page)] = normalised(page)
            ids += page_ids
        if vectors is None or len(ids) != count:
            log.warning("vectors_not_held", generation=name, expected=count, found=len(ids))
            return
        self._held[key] = await asyncio.to_thread(HeldGeneration, np.array(ids, dtype=np.int64), vectors)

    def _has_room(self, key: Key, size: int) -> bool:
        """Return whether a generation of so many bytes can be held. Make room for it if it can."""
        if size > min(MOST_BYTES, self.max_bytes):
            self._too_large[key] = True
            return False
        return self._make_room(size)

    def _make_room(self, size: int) -> bool:
        """Drop the least recently used generations. Return whether there is room then; busy ones stay."""
        busy = time.monotonic() - BUSY_SECONDS
        used = self.held_bytes
        for key, held in list(self._held.items()):
            if used + size <= self.max_bytes or held.used_at > busy:
                break
            used -= held.size
            del self._held[key]
        return used + size <= self.max_bytes
