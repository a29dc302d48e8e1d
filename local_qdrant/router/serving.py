"""The processes that serve settled collections.

Small collections share one process if they are indexed, another if they are not: reading pages of a base store must
not make a search wait. A large collection gets a process of its own, because opening it takes longer than a search in
another collection may wait, as long as there are not too many of them; so does one on which processes died.
"""

import asyncio
import time

from local_qdrant.directory import DataDirectory
from local_qdrant.options import Options
from local_qdrant.router.collection import Collection
from local_qdrant.router.engine_process import EngineProcess, Role
from servicekit.telemetry.logs import get_logger

_log = get_logger(__name__)
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 5.0
_STEADY_SECONDS = 10.0


class Lane:
    """One place for a serving process. A process that dies is replaced on the next use, with a growing delay."""

    def __init__(self, role: Role, options: Options) -> None:
        self._role = role
        self._options = options
        self._process: EngineProcess | None = None
        self._started = 0.0
        self._deaths = 0
        self._lock = asyncio.Lock()

    async def process(self) -> EngineProcess:
        """The running process. Raises OSError when none can be started."""
        async with self._lock:
            if self._process is not None and self._process.alive:
                return self._process
            if self._process is not None:
                await self._mourn(self._process)
            self._started = time.monotonic()
            self._process = await EngineProcess.start(self._role, self._options)
            return self._process

    async def stop(self) -> None:
        """Let the process finish and end."""
        async with self._lock:
            if self._process is not None:
                await self._process.stop()
                self._process = None

    async def _mourn(self, process: EngineProcess) -> None:
        await process.ended()
        steady = time.monotonic() - self._started > _STEADY_SECONDS
        self._deaths = 0 if steady else self._deaths + 1
        if self._deaths > 1:
            await asyncio.sleep(min(_FIRST_DELAY * 2**self._deaths, _LONGEST_DELAY))


class Serving:
    """All lanes, and which of them a collection belongs to."""

    def __init__(self, directory: DataDirectory, options: Options) -> None:
        self._directory = directory
        self._options = options
        self._shared = {
            indexed: Lane(Role("serve-indexed" if indexed else "serve-plain", options.open_collections, 0), options)
            for indexed in (True, False)
        }
        self._own: dict[str, Lane] = {}

    async def process_for(self, collection: Collection) -> EngineProcess:
        """The process that shall hold a settled collection. Raises OSError when none can be started."""
        return await (await self._lane(collection)).process()

    async def retire(self, collection: Collection) -> None:
        """End the process that serves only this collection, if there is one."""
        lane = self._own.pop(collection.name, None)
        if lane is not None:
            await lane.stop()

    async def stop(self) -> None:
        """End all processes."""
        lanes = [*self._shared.values(), *self._own.values()]
        await asyncio.gather(*(lane.stop() for lane in lanes))

    async def _lane(self, collection: Collection) -> Lane:
        lane = self._own.get(collection.name)
        if lane is not None:
            return lane
        if await self._wants_own_process(collection):
            self._own[collection.name] = lane = Lane(Role(f"serve-{collection.name}", 1, 0), self._options)
            return lane
        specification = collection.specification
        return self._shared[specification is not None and specification.wants_index]

    async def _wants_own_process(self, collection: Collection) -> bool:
        if collection.is_suspicious:
            return True
        size = await asyncio.to_thread(self._directory.size, collection.name)
        return size > self._options.own_process_bytes and len(self._own) < self._options.own_processes
