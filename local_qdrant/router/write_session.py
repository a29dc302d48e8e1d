"""One collection's time with a writer, from its first write until it is settled and back with a reader."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine

from local_qdrant.options import Options
from local_qdrant.protocol.status import Code, StatusError, unavailable
from local_qdrant.protocol.wire import Operation
from local_qdrant.router.collection import LocalCollection
from local_qdrant.router.engine_process import EngineProcess, Role
from local_qdrant.router.readers import Readers
from local_qdrant.router.writer_slots import WriterSlots
from local_qdrant.storage import Storage
from servicekit.backoff import Backoff
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

WRITER_NICENESS = 5
FIRST_DELAY = 0.1
MAX_DELAY = 3.0
NO_SPACE_DELAY = 2.0


class WriteSession:
    """Starts a writer, optimizes when writes pause, hands the collection to a reader, replaces a writer that dies."""

    def __init__(
        self, collection: LocalCollection, storage: Storage, readers: Readers, slots: WriterSlots, options: Options
    ) -> None:
        self._collection = collection
        self._storage = storage
        self._readers = readers
        self._slots = slots
        self._options = options
        self._failures = 0
        self._backoff = Backoff(FIRST_DELAY, MAX_DELAY)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    async def writer_ready(self) -> None:
        """Wait until the collection has a writer, or the session is over. Raises `StatusError` (UNAVAILABLE)."""
        if self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._ready)

    async def stop(self) -> None:
        """End the session. The writer keeps running."""
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _run(self) -> None:
        collection = self._collection
        await self._slots.take(collection.name)
        try:
            while not collection.damage:
                try:
                    await self._ensure_writer()
                    await self._settle()
                    if await self._stays_idle():
                        await collection.move(self._hand_over)
                        return
                except (StatusError, OSError) as error:
                    await self._recover(error)
        finally:
            await self._slots.give_back(collection.name)
            self._announce(None)

    async def _ensure_writer(self) -> None:
        if not self._collection.has_writer:
            await self._collection.move(self._move_to_writer)
            self._collection.last_write = time.monotonic()
        self._announce(None)

    def _announce(self, error: StatusError | None) -> None:
        """Wake the requests that wait for the writer."""
        if self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
            return
        self._ready.set_exception(error)
        # Marks the error as seen, because perhaps no request waits.
        self._ready.exception()

    async def _move_to_writer(self) -> None:
        collection = self._collection
        former = collection.holder
        collection.holder = None
        await self._readers.retire(collection)
        if former is not None:
            with contextlib.suppress(StatusError):
                await former.submit(Operation.CLOSE, collection.name)
            if not former.alive:
                await former.ended()
        role = Role(f"write-{collection.name}", open_collections=1, nice=WRITER_NICENESS)
        collection.assign(await EngineProcess.start(role, self._options), writer=True)

    async def _settle(self) -> None:
        """Optimize and flush once writes pause. The collection is then settled, unless it was written to again."""
        collection = self._collection
        await self._wait_for_pause()
        if await self._lacks_space():
            await asyncio.sleep(NO_SPACE_DELAY)
            return
        writes, started = collection.writes, time.monotonic()
        collection.unsettled_bytes = 0
        reply = await collection.writer.submit(Operation.SETTLE, collection.name)
        collection.record_counts(reply.counts)
        collection.optimizer_error = ""
        self._failures = 0
        self._backoff.reset()
        if collection.writes == writes:
            await collection.move(self._mark_settled)
        log.info(
            "collection_optimized",
            collection=collection.name,
            points=reply.counts.points,
            indexed=reply.counts.indexed,
            seconds=round(time.monotonic() - started, 3),
            settled=collection.settled,
        )

    async def _lacks_space(self) -> bool:
        """Return whether the disk has no room for a second copy, which optimizing needs."""
        collection = self._collection
        needed = await asyncio.to_thread(self._storage.size, collection.name) + self._options.min_free_bytes
        if collection.settled or self._storage.free_bytes() >= needed:
            return False
        collection.optimizer_error = f"Not enough disk space to optimize: {needed >> 20} MB are needed"
        log.warning("optimize_postponed", collection=collection.name, needed_bytes=needed)
        return True

    async def _mark_settled(self) -> None:
        await asyncio.to_thread(self._storage.mark_settled, self._collection.name)
        self._collection.settled = True

    async def _wait_for_pause(self) -> None:
        collection = self._collection
        while collection.unsettled_bytes < self._options.optimize_after_bytes:
            left = collection.last_write + self._options.quiet_seconds - time.monotonic()
            if left <= 0:
                return
            await _first_of(left, collection.writer.ended())

    async def _stays_idle(self) -> bool:
        """Wait for more writes. Return whether none came in time or another collection needs the slot."""
        collection = self._collection
        while collection.settled and collection.has_writer:
            left = collection.last_write + self._options.linger_seconds - time.monotonic()
            if left <= 0 or self._slots.wanted.is_set():
                break
            await _first_of(left, collection.wait_unsettled(), collection.writer.ended(), self._slots.wanted.wait())
        return collection.settled and collection.moving is None

    async def _hand_over(self) -> None:
        collection = self._collection
        writer = collection.writer
        await writer.submit(Operation.CLOSE, collection.name)
        collection.holder = None
        await writer.stop()
        reader = await self._readers.process_for(collection)
        collection.assign(reader, writer=False)
        try:
            await reader.submit(Operation.LOAD, collection.name)
        except StatusError as error:
            log.warning("collection_not_loaded", collection=collection.name, error=error.message)
            collection.record_death(reader)

    async def _recover(self, error: StatusError | OSError) -> None:
        collection = self._collection
        if isinstance(error, StatusError) and error.code is Code.DATA_LOSS:
            collection.record_damage(error.message)
            log.error("collection_damaged", collection=collection.name, error=error.message)
            if collection.has_writer:
                await collection.writer.stop()
            return
        self._failures += 1
        log.warning("write_session_retried", collection=collection.name, error=str(error), failures=self._failures)
        if not (isinstance(error, StatusError) and error.code is Code.UNAVAILABLE):
            collection.optimizer_error = str(error)
        if isinstance(error, OSError):
            self._announce(unavailable(f"Cannot start a process for collection `{collection.name}`: {error}"))
        if collection.holder is not None and not collection.holder.alive:
            await collection.holder.ended()
        await asyncio.sleep(self._backoff.delay())


async def _first_of(seconds: float, *events: Coroutine[None, None, object]) -> None:
    """Wait for the first of several events, `seconds` at most."""
    tasks = [asyncio.create_task(event) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
