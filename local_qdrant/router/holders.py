"""Finding the process that may carry out a request on a collection, and changing it when need be."""

import asyncio
import contextlib
from functools import partial

from local_qdrant.directory import DataDirectory
from local_qdrant.options import Options
from local_qdrant.protocol.status import Code, StatusError, exhausted, missing_collection, unavailable
from local_qdrant.protocol.wire import Operation, Reply
from local_qdrant.router.collection import Collection
from local_qdrant.router.engine_process import EngineProcess
from local_qdrant.router.keeper import Keeper
from local_qdrant.router.serving import Serving
from local_qdrant.router.writer_slots import WriterSlots
from servicekit.telemetry.logs import get_logger

_log = get_logger(__name__)


class Holders:
    """Which engine process holds which collection. A collection is open in one process at a time."""

    def __init__(self, directory: DataDirectory, options: Options) -> None:
        self._directory = directory
        self._options = options
        self._serving = Serving(directory, options)
        self._slots = WriterSlots(options.writers)
        self._keepers: dict[Collection, Keeper] = {}

    async def read(self, collection: Collection, operation: Operation, payload: bytes = b"") -> Reply:
        """Have a read carried out. Raises `StatusError`."""
        return await self._call(collection, operation, payload, write=False)

    async def write(self, collection: Collection, operation: Operation, payload: bytes) -> Reply:
        """Have a write carried out. Raises `StatusError`, RESOURCE_EXHAUSTED when the disk is nearly full."""
        self._check_space(operation)
        return await self._call(collection, operation, payload, write=True)

    def look_after(self, collection: Collection) -> Keeper:
        """Have the collection settled by a writer in the background."""
        keeper = self._keepers.get(collection)
        if keeper is None or keeper.task.done():
            keeper = Keeper(collection, self._directory, self._serving, self._slots, self._options)
            self._keepers[collection] = keeper
            keeper.task.add_done_callback(partial(self._forget, collection))
        return keeper

    async def let_go(self, collection: Collection) -> None:
        """Make sure that no process has a deleted collection open, even one in the middle of optimizing."""
        keeper = self._keepers.get(collection)
        if keeper is not None:
            await keeper.stop()
        while collection.moving is not None:
            await asyncio.wait({collection.moving})
        await self._serving.retire(collection)
        holder = collection.holder
        if holder is None:
            return
        if collection.written_by_holder:
            holder.kill()
        if holder.alive:
            with contextlib.suppress(StatusError):
                await holder.submit(Operation.CLOSE, collection.name)
        if not holder.alive:
            await holder.ended()

    async def stop(self) -> None:
        """Flush and close every collection and end all processes."""
        keepers = list(self._keepers.items())
        await asyncio.gather(*(keeper.stop() for _, keeper in keepers))
        for collection, _ in keepers:
            while collection.moving is not None:
                await asyncio.wait({collection.moving})
        writers = [collection.holder for collection, _ in keepers if collection.has_writer]
        await asyncio.gather(*(writer.stop() for writer in writers if writer is not None))
        await self._serving.stop()

    async def _call(self, collection: Collection, operation: Operation, payload: bytes, *, write: bool) -> Reply:
        holder = None
        try:
            holder = await self._holder(collection, write=write)
            if write:
                collection.note_write(len(payload))
            reply = await holder.submit(operation, collection.name, payload)
        except StatusError as error:
            if error.code is Code.DATA_LOSS:
                collection.note_damage(error.message)
            if holder is not None:
                collection.note_death(holder)
            if collection.deleted:
                raise missing_collection(collection.name) from error
            raise
        except OSError as error:
            raise unavailable(f"No process for collection `{collection.name}` can be started: {error}") from error
        collection.note_answer(reply.counts)
        return reply

    async def _holder(self, collection: Collection, *, write: bool) -> EngineProcess:
        """The process that can take the request. The caller submits before it awaits anything else."""
        while True:
            collection.check_usable()
            if collection.holder is not None and collection.is_held(write=write):
                return collection.holder
            if collection.moving is not None:
                await asyncio.wait({collection.moving})
            elif not collection.needs_writer(write=write):
                await collection.move(partial(self._serve, collection))
            elif collection.has_writer:
                await collection.move(partial(self._mark_unsettled, collection))
            else:
                await self.look_after(collection).arrival()

    async def _serve(self, collection: Collection) -> None:
        former = collection.holder
        if former is not None and not former.alive:
            await former.ended()
        process = await self._serving.process_for(collection)
        collection.hold(process, writer=False)

    async def _mark_unsettled(self, collection: Collection) -> None:
        await asyncio.to_thread(self._directory.mark_unsettled, collection.name)
        collection.settled = False

    def _forget(self, collection: Collection, task: asyncio.Task[None]) -> None:
        if self._keepers[collection].task is task:
            del self._keepers[collection]
        if not task.cancelled() and task.exception() is not None:
            _log.error("keeper_failed", collection=collection.name, exc_info=task.exception())

    def _check_space(self, operation: Operation) -> None:
        reserve = self._options.min_free_bytes
        if operation is Operation.DELETE:
            reserve //= 4
        free = self._directory.free_bytes()
        if free < reserve:
            raise exhausted(f"Not enough disk space: {free >> 20} MB free, writes need {reserve >> 20} MB")
