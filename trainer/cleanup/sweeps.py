"""The sweeps: each removes one kind of data that is no longer needed.

Data is left over when collections are deleted, when indexes and contents are replaced, and when processes die.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from catalog.adapters import Adapters
from catalog.collections import Collections
from catalog.contents import Contents
from catalog.images import Images
from catalog.indexes import Index, Indexes
from catalog.vectors.base_store import BaseStore, BaseStores
from catalog.vectors.generations import Generations
from catalog.vectors.names import VectorCollection, VectorCollections
from servicekit.errors import ServiceError
from servicekit.process.fault_points import FaultPoint
from servicekit.telemetry.logs import get_logger
from trainer.metrics import TrainerMetrics

log = get_logger(__name__)

IMAGES_AT_ONCE = 1000
# A sweep continues after a removal that failed. After this many failures the store itself is probably unavailable.
FAILURES_BEFORE_STOP = 3

T = TypeVar("T")


@dataclass(frozen=True)
class SweptStores:
    """The stores that are swept."""

    collections: Collections
    contents: Contents
    images: Images
    indexes: Indexes
    adapters: Adapters
    generations: Generations
    base_stores: BaseStores
    vectors: VectorCollections


class Sweeps:
    """All sweeps. Each can run again after it failed, and while jobs run."""

    def __init__(
        self, stores: SweptStores, metrics: TrainerMetrics, *, index_grace: float, content_grace: float
    ) -> None:
        """index_grace, content_grace: seconds for which a replaced index or content is kept."""
        self._stores = stores
        self._metrics = metrics
        self._index_grace = index_grace
        self._content_grace = content_grace

    def by_name(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return the sweeps in the order in which one enables the next."""
        return {
            "deletions": self.finish_deletions,
            "indexes": self.remove_indexes,
            "vectors": self.remove_vectors,
            "lost": self.find_lost_indexes,
            "adapters": self._stores.adapters.remove_unused,
            "contents": self.prune_contents,
            "images": self.remove_images,
        }

    async def finish_deletions(self) -> None:
        """Remove the data of collections that are being deleted. Their rows go last, so that a kill loses nothing."""
        await _each(await self._stores.collections.deleting(), self._finish_deletion)

    async def remove_indexes(self) -> None:
        """Remove indexes that were replaced or that a job without success left: vectors first, then the row."""
        await _each(await self._stores.indexes.droppable(self._index_grace), self._remove_index)

    async def remove_vectors(self) -> None:
        """Remove Qdrant collections without a row.

        A row is written before its Qdrant collection is created. So the Qdrant collections are listed first: one that
        is listed and has no row afterwards has lost it, and does not wait for one.
        """
        listed = await self._stores.vectors.list()
        generations = await self._stores.indexes.qdrant_collections()
        needed = await self._stores.indexes.base_stores_needed()

        def is_orphan(found: VectorCollection) -> bool:
            if found.backbone is None:
                return found.name not in generations
            return not needed.covers(found.collection_id, found.backbone)

        await _each(filter(is_orphan, listed), self._drop)

    async def find_lost_indexes(self) -> None:
        """Mark the live indexes whose Qdrant collection is gone. Their collections then require finetuning."""
        # A live index has its vectors for as long as its row is live, so the rows are read first.
        live = await self._stores.indexes.live_vectors()
        listed = {found.name for found in await self._stores.vectors.list()}
        for vectors in live:
            if vectors.name not in listed:
                if await self._stores.indexes.mark_lost(vectors.index_id):
                    log.error("index_lost", collection=vectors.collection_id, index=vectors.name)
            elif vectors.lost and await self._stores.generations.readable(vectors.name):
                await self._stores.indexes.mark_found(vectors.index_id)
                log.info("index_found", collection=vectors.collection_id, index=vectors.name)

    async def prune_contents(self) -> None:
        """Remove contents that were replaced and that no index or job needs."""
        await self._stores.contents.prune(self._content_grace)

    async def remove_images(self) -> None:
        """Remove images that no content has any more: their base vectors first, then their rows."""
        listed = [found for found in await self._stores.vectors.list() if found.backbone is not None]

        async def of_collection(collection_id: int) -> None:
            names = [found.name for found in listed if found.collection_id == collection_id]
            await self._remove_images_of(collection_id, [self._stores.base_stores.named(name) for name in names])

        await _each(await self._stores.images.collections_with_ended_spans(), of_collection)

    async def _remove_images_of(self, collection_id: int, stores: list[BaseStore]) -> None:
        while ids := await self._stores.images.unreferenced(collection_id, IMAGES_AT_ONCE):
            for store in stores:
                await store.remove(ids)
            FaultPoint.IMAGE_VECTORS_REMOVED.reach()
            await self._stores.images.remove(collection_id, ids)
            self._removed("images", collection=collection_id, images=len(ids))
        await self._stores.images.remove_ended_spans(collection_id)

    async def _finish_deletion(self, collection_id: int) -> None:
        for found in await self._stores.vectors.list():
            if found.collection_id == collection_id:
                await self._drop(found)
                FaultPoint.COLLECTION_DROPPED.reach()
        await self._stores.collections.remove(collection_id)
        self._removed("collection", collection=collection_id)

    async def _remove_index(self, index: Index) -> None:
        await self._stores.generations.drop(index.qdrant_collection)
        FaultPoint.INDEX_DROPPED.reach()
        await self._stores.indexes.remove(index.id)
        self._removed("index", index=index.qdrant_collection)

    async def _drop(self, found: VectorCollection) -> None:
        await self._stores.generations.drop(found.name)
        self._removed("vectors", vectors=found.name)

    def _removed(self, kind: str, **fields: object) -> None:
        self._metrics.dropped.labels(kind).inc()
        log.info("removed", kind=kind, **fields)


async def _each(things: Iterable[T], remove: Callable[[T], Awaitable[None]]) -> None:
    """Remove all things that can be removed, then raise the first error if there was one."""
    errors: list[ServiceError] = []
    for thing in things:
        try:
            await remove(thing)
        except ServiceError as error:
            errors.append(error)
            if len(errors) == FAILURES_BEFORE_STOP:
                break
    if errors:
        raise errors[0]
