"""Finds the process that may run a request on a collection, and moves the collection when no process can."""

import asyncio
import contextlib
from functools import partial

from local_qdrant.options import Options
from local_qdrant.protocol.status import Code, StatusError, exhausted, missing_collection, unavailable
from local_qdrant.protocol.wire import Operation, Reply
from local_qdrant.router.collection import LocalCollection
from local_qdrant.router.engine_process import EngineProcess
from local_qdrant.router.readers import Readers
from local_qdrant.router.write_session import WriteSession
from local_qdrant.router.writer_slots import WriterSlots
from local_qdrant.storage import Storage
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)


class Placement:
    """Which engine process holds which collection. A collection is open in one process at a time.

    A settled collection is held by a reader. The first write moves it to its own writer, and the write session brings
    it back.
    """

    def __init__(self, storage: Storage, options: Options) -> None:
        self._storage = storage
        self._options = options
        self._readers = Readers(storage, options)
        self._slots = WriterSlots(options.writers)
        self._sessions: dict[LocalCollection, WriteSession] = {}

    async def read(self, collection: LocalCollection, operation: Operation, payload: bytes = b"") -> Reply:
        """Run a read. Raises `StatusError`."""
        return await self._call(collection, operation, payload, write=False)

    async def write(self, collection: LocalCollection, operation: Operation, payload: bytes) -> Reply:
        """Run a write. Raises `StatusError`, RESOURCE_EXHAUSTED when the disk is nearly full."""
        self._check_space(operation)
        return await self._call(collection, operation, payload, write=True)

    def ensure_write_session(self, collection: LocalCollection) -> WriteSession:
        """Return the collection's write session. Start one, which settles the collection, when there is none."""
        session = self._sessions.get(collection)
        if session is None or session.task.done():
            session = WriteSession(collection, self._storage, self._readers, self._slots, self._options)
            self._sessions[collection] = session
            session.task.add_done_callback(partial(self._forget, collection))
        return session

    async def release(self, collection: LocalCollection) -> None:
        """Close a deleted collection in every process. A writer is killed, even while it optimizes."""
        session = self._sessions.get(collection)
        if session is not None:
            await session.stop()
        while collection.moving is not None:
            await asyncio.wait({collection.moving})
        await self._readers.retire(collection)
        holder = collection.holder
        if holder is None:
            return
        if collection.held_by_writer:
            holder.kill()
        if holder.alive:
            with contextlib.suppress(StatusError):
                await holder.submit(Operation.CLOSE, collection.name)
        if not holder.alive:
            await holder.ended()

    async def stop(self) -> None:
        """Flush and close every collection and end all processes."""
        sessions = list(self._sessions.items())
        await asyncio.gather(*(session.stop() for _, session in sessions))
        for collection, _ in sessions:
            while collection.moving is not None:
                await asyncio.wait({collection.moving})
        writers = [collection.writer for collection, _ in sessions if collection.has_writer]
        await asyncio.gather(*(writer.stop() for writer in writers))
        await self._readers.stop()

    async def _call(self, collection: LocalCollection, operation: Operation, payload: bytes, *, write: bool) -> Reply:
        holder = None
        try:
            holder = await self._holder(collection, write=write)
            if write:
                collection.record_write(len(payload))
            reply = await holder.submit(operation, collection.name, payload)
        except StatusError as error:
            if error.code is Code.DATA_LOSS:
                collection.record_damage(error.message)
            if holder is not None:
                collection.record_death(holder)
            if collection.deleted:
                raise missing_collection(collection.name) from error
            raise
        except OSError as error:
            raise unavailable(f"Cannot start a process for collection `{collection.name}`: {error}") from error
        collection.record_counts(reply.counts)
        return reply

    async def _holder(self, collection: LocalCollection, *, write: bool) -> EngineProcess:
        """Return a process that can take the request. The caller must submit before it awaits anything else."""
        while True:
            collection.check_usable()
            if collection.holder is not None and collection.can_take(write=write):
                return collection.holder
            if collection.moving is not None:
                await asyncio.wait({collection.moving})
            elif collection.settled and not write:
                await collection.move(partial(self._move_to_reader, collection))
            elif collection.has_writer:
                await collection.move(partial(self._mark_unsettled, collection))
            else:
                await self.ensure_write_session(collection).writer_ready()

    async def _move_to_reader(self, collection: LocalCollection) -> None:
        if collection.holder is not None and not collection.holder.alive:
            await collection.holder.ended()
        collection.assign(await self._readers.process_for(collection), writer=False)

    async def _mark_unsettled(self, collection: LocalCollection) -> None:
        await asyncio.to_thread(self._storage.mark_unsettled, collection.name)
        collection.settled = False

    def _forget(self, collection: LocalCollection, task: asyncio.Task[None]) -> None:
        if self._sessions[collection].task is task:
            del self._sessions[collection]
        if not task.cancelled() and task.exception() is not None:
            log.error("write_session_failed", collection=collection.name, exc_info=task.exception())

    def _check_space(self, operation: Operation) -> None:
        reserve = self._options.min_free_bytes
        if operation is Operation.DELETE:
            reserve //= 4
        free = self._storage.free_bytes()
        if free < reserve:
            raise exhausted(f"Not enough disk space: {free >> 20} MB are free, a write needs {reserve >> 20} MB")
