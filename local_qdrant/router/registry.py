"""All collections: creates, deletes and finds them."""

import asyncio
from collections.abc import Callable, Coroutine

from local_qdrant.protocol.specification import specify
from local_qdrant.protocol.status import Code, StatusError, exhausted, missing_collection
from local_qdrant.router.collection import LocalCollection
from local_qdrant.router.placement import Placement
from local_qdrant.storage import Storage, remove_folder
from servicekit.qdrant_api import collections_pb2
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)


class Registry:
    """The collections of one data directory. A change that has begun finishes even when its caller is cancelled."""

    def __init__(self, storage: Storage, placement: Placement, min_free_bytes: int) -> None:
        self._storage = storage
        self._placement = placement
        self._min_free_bytes = min_free_bytes
        self._collections: dict[str, LocalCollection] = {}
        self._changing: dict[str, asyncio.Task[None]] = {}
        self._removals: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Find the collections on disk and resume settling those that are not settled yet."""
        for name in self._storage.names():
            collection = _load(self._storage, name)
            self._collections[name] = collection
            if not collection.settled and not collection.damage:
                self._placement.ensure_write_session(collection)
        log.info("collections_found", number=len(self._collections))

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return sorted(self._collections)

    def find(self, name: str) -> LocalCollection | None:
        """Return the collection of that name, or None."""
        return self._collections.get(name)

    def get(self, name: str) -> LocalCollection:
        """Return the collection of that name. Raises `StatusError` (NOT_FOUND)."""
        collection = self._collections.get(name)
        if collection is None:
            raise missing_collection(name)
        return collection

    async def create(self, request: collections_pb2.CreateCollection) -> None:
        """Create a collection.

        Raises `StatusError`: ALREADY_EXISTS, INVALID_ARGUMENT, UNIMPLEMENTED, RESOURCE_EXHAUSTED.
        """
        name = specify(request).request.collection_name
        await self._change(name, lambda: self._create(name, request))

    async def delete(self, name: str) -> bool:
        """Delete a collection and return whether it existed."""
        existed = name in self._collections
        if existed:
            await self._change(name, lambda: self._delete(name))
        return existed

    async def stop(self) -> None:
        """Finish the changes that have begun."""
        pending = {*self._changing.values(), *self._removals}
        if pending:
            await asyncio.wait(pending)

    async def _change(self, name: str, step: Callable[[], Coroutine[None, None, None]]) -> None:
        while name in self._changing:
            await asyncio.wait({self._changing[name]})
        task = asyncio.create_task(step())
        self._changing[name] = task
        task.add_done_callback(lambda _: self._changing.pop(name, None))
        await asyncio.shield(task)

    async def _create(self, name: str, request: collections_pb2.CreateCollection) -> None:
        if name in self._collections:
            raise StatusError(Code.ALREADY_EXISTS, f"Wrong input: Collection `{name}` already exists!")
        free = self._storage.free_bytes()
        if free < self._min_free_bytes:
            raise exhausted(
                f"Not enough disk space: {free >> 20} MB are free, a collection needs {self._min_free_bytes >> 20} MB"
            )
        await asyncio.to_thread(self._storage.create, name, request)
        collection = LocalCollection(name, specify(request), settled=True)
        # The engine need not be asked: a new collection is empty.
        collection.counted = True
        self._collections[name] = collection
        log.info("collection_created", collection=name)

    async def _delete(self, name: str) -> None:
        collection = self._collections.get(name)
        if collection is None:
            return
        collection.deleted = True
        await self._placement.release(collection)
        doomed = await asyncio.to_thread(self._storage.discard, name)
        del self._collections[name]
        removal = asyncio.create_task(asyncio.to_thread(remove_folder, doomed))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        log.info("collection_deleted", collection=name)


def _load(storage: Storage, name: str) -> LocalCollection:
    settled = storage.is_settled(name)
    try:
        return LocalCollection(name, specify(storage.creation_request(name)), settled=settled)
    except StatusError as error:
        log.error("collection_damaged", collection=name, error=error.message)
        collection = LocalCollection(name, None, settled=settled)
        collection.record_damage(error.message)
        return collection
