"""All collections: creating, deleting and finding them."""

import asyncio
from collections.abc import Callable, Coroutine

from local_qdrant.directory import DataDirectory, remove_folder
from local_qdrant.protocol.messages import collections_pb2
from local_qdrant.protocol.specification import specify
from local_qdrant.protocol.status import Code, StatusError, exhausted, missing_collection
from local_qdrant.router.collection import Collection
from local_qdrant.router.holders import Holders
from servicekit.telemetry.logs import get_logger

_log = get_logger(__name__)


class Registry:
    """The collections of one data directory. A change that has begun is finished even if its caller goes away."""

    def __init__(self, directory: DataDirectory, holders: Holders, min_free_bytes: int) -> None:
        self._directory = directory
        self._holders = holders
        self._min_free_bytes = min_free_bytes
        self._collections: dict[str, Collection] = {}
        self._changing: dict[str, asyncio.Task[None]] = {}
        self._removals: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Find the collections on disk; those with writes that are not yet optimized are taken up again."""
        for name in self._directory.names():
            collection = _found(self._directory, name)
            self._collections[name] = collection
            if not collection.settled and not collection.damage:
                self._holders.look_after(collection)
        _log.info("collections_found", number=len(self._collections))

    def names(self) -> list[str]:
        """The names of all collections."""
        return sorted(self._collections)

    def find(self, name: str) -> Collection | None:
        """The collection of that name, or None."""
        return self._collections.get(name)

    def get(self, name: str) -> Collection:
        """The collection of that name. Raises `StatusError` (NOT_FOUND)."""
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
        """Delete a collection; whether there was one."""
        existed = name in self._collections
        if existed:
            await self._change(name, lambda: self._delete(name))
        return existed

    async def stop(self) -> None:
        """Finish what has begun."""
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
        free = self._directory.free_bytes()
        if free < self._min_free_bytes:
            raise exhausted(
                f"Not enough disk space: {free >> 20} MB free, a collection needs {self._min_free_bytes >> 20} MB"
            )
        await asyncio.to_thread(self._directory.create, name, request)
        self._collections[name] = Collection(name, specify(request), settled=True)
        self._collections[name].counted = True
        _log.info("collection_created", collection=name)

    async def _delete(self, name: str) -> None:
        collection = self._collections.get(name)
        if collection is None:
            return
        collection.deleted = True
        await self._holders.let_go(collection)
        doomed = await asyncio.to_thread(self._directory.discard, name)
        del self._collections[name]
        removal = asyncio.create_task(asyncio.to_thread(remove_folder, doomed))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        _log.info("collection_deleted", collection=name)


def _found(directory: DataDirectory, name: str) -> Collection:
    settled = directory.is_settled(name)
    try:
        return Collection(name, specify(directory.creation_request(name)), settled=settled)
    except StatusError as error:
        _log.error("collection_damaged", collection=name, error=error.message)
        collection = Collection(name, None, settled=settled)
        collection.note_damage(error.message)
        return collection
