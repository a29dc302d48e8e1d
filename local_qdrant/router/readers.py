"""The processes that hold settled collections and answer reads.

Small collections share a reader: one for those with an index, another for those without, so that paging through a base
store does not delay a search. A large collection gets its own reader, because opening it takes longer than a search in
another collection may wait. The number of such readers is limited. A collection on which readers died gets its own
reader too.
"""

import asyncio
import time

from local_qdrant.options import Options
from local_qdrant.router.collection import LocalCollection
from local_qdrant.router.engine_process import EngineProcess, Role
from local_qdrant.storage import Storage
from servicekit.backoff import Backoff
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

FIRST_DELAY = 0.05
MAX_DELAY = 5.0
# A reader that ran this long is taken to be well: its next death is a first one again.
STEADY_SECONDS = 10.0


class Reader:
    """A reader process that is replaced on the next use after it died, with a growing delay."""

    def __init__(self, role: Role, options: Options) -> None:
        self._role = role
        self._options = options
        self._process: EngineProcess | None = None
        self._started = 0.0
        self._backoff = Backoff(FIRST_DELAY, MAX_DELAY)
        self._lock = asyncio.Lock()

    async def process(self) -> EngineProcess:
        """Return the running process. Raises OSError when none can be started."""
        async with self._lock:
            if self._process is not None and self._process.alive:
                return self._process
            if self._process is not None:
                await self._back_off(self._process)
            self._started = time.monotonic()
            self._process = await EngineProcess.start(self._role, self._options)
            return self._process

    async def stop(self) -> None:
        """Let the process finish its requests and end."""
        async with self._lock:
            if self._process is not None:
                await self._process.stop()
                self._process = None

    async def _back_off(self, dead: EngineProcess) -> None:
        await dead.ended()
        if time.monotonic() - self._started > STEADY_SECONDS:
            self._backoff.reset()
        await asyncio.sleep(self._backoff.delay())


class Readers:
    """All readers, and which of them a collection belongs to."""

    def __init__(self, storage: Storage, options: Options) -> None:
        self._storage = storage
        self._options = options
        self._shared = {
            indexed: Reader(Role("read-indexed" if indexed else "read-plain", options.open_collections, 0), options)
            for indexed in (True, False)
        }
        self._own: dict[str, Reader] = {}

    async def process_for(self, collection: LocalCollection) -> EngineProcess:
        """Return the process that should hold a settled collection. Raises OSError when none can be started."""
        return await (await self._reader(collection)).process()

    async def retire(self, collection: LocalCollection) -> None:
        """End the reader of this collection alone, if there is one."""
        reader = self._own.pop(collection.name, None)
        if reader is not None:
            await reader.stop()

    async def stop(self) -> None:
        """End all readers."""
        await asyncio.gather(*(reader.stop() for reader in (*self._shared.values(), *self._own.values())))

    async def _reader(self, collection: LocalCollection) -> Reader:
        reader = self._own.get(collection.name)
        if reader is not None:
            return reader
        if await self._needs_own_reader(collection):
            self._own[collection.name] = reader = Reader(Role(f"read-{collection.name}", 1, 0), self._options)
            return reader
        specification = collection.specification
        return self._shared[specification is not None and specification.wants_index]

    async def _needs_own_reader(self, collection: LocalCollection) -> bool:
        if collection.kills_readers:
            return True
        size = await asyncio.to_thread(self._storage.size, collection.name)
        return size > self._options.own_reader_bytes and len(self._own) < self._options.own_readers
