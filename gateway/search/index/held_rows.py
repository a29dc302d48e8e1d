"""The rows of indexes whose vectors are held in memory, so that searches need not read them from the database.

The rows of an index never change. Each search still asks the database whether the index is live: see `LiveChecks`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cachetools import TTLCache

from catalog.indexed_images import IndexedImages, IndexRows, PointRows, Points
from catalog.indexes import Index
from gateway.search.index.held_vectors import HeldVectors
from servicekit.errors import ServiceError
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# The limits for one index. Equal images share a vector, but each has its own row.
MOST_ROWS, MOST_BYTES = 40_000, 16 << 20
# The memory for all rows, as a share of that for all vectors.
SHARE_OF_VECTORS = 0.5
# How long to wait before trying again to hold rows that could not be held.
REFUSED_SECONDS = 60.0
REMEMBERED = 10_000


@dataclass(frozen=True)
class _Held:
    """The rows of an index, and the generation that has its vectors."""

    generation: str
    using: str
    rows: IndexRows


class HeldRows:
    """Reads the rows of points: from memory, or else from the database.

    Loading runs in the background, one index at a time, while entered by `open`.
    """

    def __init__(self, images: IndexedImages, vectors: HeldVectors) -> None:
        self._images = images
        self._vectors = vectors
        self._held: dict[int, _Held] = {}
        self._refused: TTLCache[int, bool] = TTLCache(REMEMBERED, REFUSED_SECONDS)
        self._wanted: asyncio.Queue[Index] = asyncio.Queue(maxsize=1)

    @classmethod
    @asynccontextmanager
    async def open(cls, images: IndexedImages, vectors: HeldVectors) -> AsyncIterator["HeldRows"]:
        """Load what is searched while entered. vectors: rows are held only of generations that these hold."""
        held = cls(images, vectors)
        async with in_background(held.load_wanted(), "held-rows"):
            yield held

    def has(self, index: Index) -> bool:
        """Return whether the rows of an index are held. If not, start loading them if they should be."""
        if index.id in self._held:
            return True
        is_wanted = self._vectors.holds(index.qdrant_collection, index.tuned_vector) and index.id not in self._refused
        if is_wanted and not self._wanted.full():
            self._wanted.put_nowait(index)
        return False

    async def of_indexes(self, wanted: Sequence[Points]) -> list[PointRows]:
        """Return the rows of points of several indexes. Those from memory do not say whether their index is live."""
        held = [self._held.get(points.index.id) for points in wanted]
        read = await self._images.of_indexes([points for points, own in zip(wanted, held, strict=True) if own is None])
        others = iter(read)
        return [
            next(others) if own is None else own.rows.of_points(points)
            for points, own in zip(wanted, held, strict=True)
        ]

    async def load_wanted(self) -> None:
        """Load the rows of indexes one after the other, until cancelled."""
        while True:
            index = await self._wanted.get()
            try:
                await self._load(index)
            except ServiceError as error:
                # The next searches read the database, and report the error.
                log.info("rows_not_held", index_id=index.id, code=error.code)
                self._refused[index.id] = True

    async def _load(self, index: Index) -> None:
        self._held = {key: each for key, each in self._held.items() if self._vectors.holds(each.generation, each.using)}
        room = int(self._vectors.max_bytes * SHARE_OF_VECTORS) - sum(each.rows.size for each in self._held.values())
        rows = await self._images.all_rows(index, most=MOST_ROWS, most_bytes=min(MOST_BYTES, room))
        if rows is None:
            self._refused[index.id] = True
            return
        self._held[index.id] = _Held(index.qdrant_collection, index.tuned_vector, rows)
