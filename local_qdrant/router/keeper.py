"""What happens to one collection from its first write until it is settled and handed over to a serving process."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine

from local_qdrant.directory import DataDirectory
from local_qdrant.options import Options
from local_qdrant.protocol.status import Code, StatusError, unavailable
from local_qdrant.protocol.wire import Operation
from local_qdrant.router.collection import Collection
from local_qdrant.router.engine_process import EngineProcess, Role
from local_qdrant.router.serving import Serving
from local_qdrant.router.writer_slots import WriterSlots
from servicekit.telemetry.logs import get_logger

_log = get_logger(__name__)
_WRITER_NICE = 5
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 3.0
_NO_SPACE_DELAY = 2.0


class Keeper:
    """Starts the collection's writer, optimizes when writes go quiet, hands over, and survives the writer's death."""

    def __init__(
        self, collection: Collection, directory: DataDirectory, serving: Serving, slots: WriterSlots, options: Options
    ) -> None:
        self._collection = collection
        self._directory = directory
        self._serving = serving
        self._slots = slots
        self._options = options
        self._failures = 0
        self._arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._keep())

    async def arrival(self) -> None:
        """Wait until the collection has a writer or cannot have one. Raises `StatusError` (UNAVAILABLE)."""
        if self._arrival.done():
            self._arrival = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._arrival)

    async def stop(self) -> None:
        """Stop looking after the collection; its writer goes on."""
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _keep(self) -> None:
        collection = self._collection
        await self._slots.take(collection.name)
        try:
            while not collection.damage:
                try:
                    await self._hold()
                    await self._settle()
                    if await self._has_lingered():
                        await collection.move(self._hand_over)
                        return
                except (StatusError, OSError) as error:
                    await self._recover(error)
        finally:
            await self._slots.give_back(collection.name)
            self._announce(None)

    async def _hold(self) -> None:
        if not self._collection.has_writer:
            await self._collection.move(self._to_writer)
            self._collection.last_write = time.monotonic()
        self._announce(None)

    def _announce(self, error: StatusError | None) -> None:
        if self._arrival.done():
            return
        if error is None:
            self._arrival.set_result(None)
            return
        self._arrival.set_exception(error)
        self._arrival.exception()

    async def _to_writer(self) -> None:
        collection = self._collection
        former = collection.holder
        collection.holder = None
        await self._serving.retire(collection)
        if former is not None:
            with contextlib.suppress(StatusError):
                await former.submit(Operation.CLOSE, collection.name)
            if not former.alive:
                await former.ended()
        role = Role(f"write-{collection.name}", open_collections=1, nice=_WRITER_NICE)
        collection.hold(await EngineProcess.start(role, self._options), writer=True)

    async def _settle(self) -> None:
        """Optimize and flush, once it is quiet; settled only if nothing was written meanwhile."""
        collection = self._collection
        await self._quiet()
        needed = await asyncio.to_thread(self._directory.size, collection.name) + self._options.min_free_bytes
        if not collection.settled and self._directory.free_bytes() < needed:
            collection.hindrance = f"Not enough disk space to optimize: {needed} bytes needed"
            _log.warning("optimize_postponed", collection=collection.name, needed=needed)
            await asyncio.sleep(_NO_SPACE_DELAY)
            return
        writes, started = collection.writes, time.monotonic()
        collection.unsettled_bytes = 0
        reply = await collection.writer.submit(Operation.SETTLE, collection.name)
        collection.note_answer(reply.counts)
        collection.hindrance = ""
        self._failures = 0
        if collection.writes == writes:
            await collection.move(self._mark_settled)
        _log.info(
            "collection_optimized",
            collection=collection.name,
            points=reply.counts.points,
            indexed=reply.counts.indexed,
            seconds=round(time.monotonic() - started, 3),
            settled=collection.settled,
        )

    async def _mark_settled(self) -> None:
        await asyncio.to_thread(self._directory.mark_settled, self._collection.name)
        self._collection.settled = True

    async def _quiet(self) -> None:
        collection = self._collection
        while collection.unsettled_bytes < self._options.optimize_after_bytes:
            left = collection.last_write + self._options.quiet_seconds - time.monotonic()
            if left <= 0:
                return
            await _first_of(left, collection.writer.ended())

    async def _has_lingered(self) -> bool:
        """Wait for more writes; whether none came for a while, or others need this collection's place."""
        collection = self._collection
        while collection.settled and collection.has_writer:
            left = collection.last_write + self._options.linger_seconds - time.monotonic()
            if left <= 0:
                break
            await _first_of(left, collection.writer.ended(), self._slots.wanted.wait())
            if self._slots.wanted.is_set():
                break
        return collection.settled and collection.moving is None

    async def _hand_over(self) -> None:
        collection = self._collection
        writer = collection.writer
        await writer.submit(Operation.CLOSE, collection.name)
        collection.holder = None
        await writer.stop()
        server = await self._serving.process_for(collection)
        collection.hold(server, writer=False)
        try:
            await server.submit(Operation.LOAD, collection.name)
        except StatusError as error:
            _log.warning("collection_not_loaded", collection=collection.name, error=error.message)
            collection.note_death(server)

    async def _recover(self, error: StatusError | OSError) -> None:
        collection = self._collection
        if isinstance(error, StatusError) and error.code is Code.DATA_LOSS:
            collection.note_damage(error.message)
            _log.error("collection_damaged", collection=collection.name, error=error.message)
            if collection.has_writer:
                await collection.writer.stop()
            return
        self._failures += 1
        _log.warning("collection_unsettled", collection=collection.name, error=str(error), failures=self._failures)
        if not (isinstance(error, StatusError) and error.code is Code.UNAVAILABLE):
            collection.hindrance = str(error)
        if isinstance(error, OSError):
            self._announce(unavailable(f"No process for collection `{collection.name}` can be started: {error}"))
        if collection.holder is not None and not collection.holder.alive:
            await collection.holder.ended()
        if self._failures > 1:
            await asyncio.sleep(min(_FIRST_DELAY * 2**self._failures, _LONGEST_DELAY))


async def _first_of(seconds: float, *events: Coroutine[None, None, object]) -> None:
    """Wait for the first of some events, or until the time is up."""
    tasks = [asyncio.create_task(event) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
