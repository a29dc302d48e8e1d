"""A collection as the router sees it: its configuration, which process holds it, and whether it is settled."""

import asyncio
import time
from collections.abc import Callable, Coroutine

from local_qdrant.protocol.specification import UNKNOWN_CONFIG, Specification
from local_qdrant.protocol.status import Code, StatusError, missing_collection, unavailable
from local_qdrant.protocol.wire import Counts
from local_qdrant.router.engine_process import EngineProcess
from servicekit.qdrant_api import collections_pb2 as pb

# After this many deaths of readers that worked on a collection, it may not share a reader with others.
MAX_READER_DEATHS = 2
# Files that could not be opened are tried again after this time.
DAMAGE_SECONDS = 10.0


class LocalCollection:
    """The router's state of one collection. Change it on the event loop only.

    At most one process, the `holder`, has the collection's files open. While a `move` runs, the collection is between
    two processes and cannot be used.
    """

    def __init__(self, name: str, specification: Specification | None, *, settled: bool) -> None:
        """Create the state. A collection without a specification is damaged: it can only be listed and deleted."""
        self.name = name
        self.specification = specification
        self.deleted = False
        self.holder: EngineProcess | None = None
        # Whether the holder is a writer, which holds no other collection.
        self.held_by_writer = False
        self.moving: asyncio.Task[None] | None = None
        self.counts = Counts()
        # Whether the engine has reported `counts` since this process started.
        self.counted = False
        # Why the collection cannot be optimized at present.
        self.optimizer_error = ""
        self.writes = 0
        self.unsettled_bytes = 0
        self.last_write = time.monotonic()
        self._unsettled = asyncio.Event()
        self.settled = settled
        self._damage = ""
        self._damaged_at = 0.0
        self._reader_deaths = 0
        self._last_death: EngineProcess | None = None

    @property
    def settled(self) -> bool:
        """Whether every acknowledged write is optimized and flushed."""
        return not self._unsettled.is_set()

    @settled.setter
    def settled(self, settled: bool) -> None:
        if settled:
            self._unsettled.clear()
        else:
            self._unsettled.set()

    async def wait_unsettled(self) -> None:
        """Wait until there is a write that is not yet optimized and flushed."""
        await self._unsettled.wait()

    @property
    def damage(self) -> str:
        """Why the collection's files cannot be used. Empty when they can, or when it is time to try again."""
        lasts = self.specification is None or time.monotonic() < self._damaged_at + DAMAGE_SECONDS
        return self._damage if lasts else ""

    def record_damage(self, message: str) -> None:
        """Record that an engine process could not open the files. They are tried again some seconds later."""
        self._damage = message
        self._damaged_at = time.monotonic()
        self.counted = False

    def check_usable(self) -> None:
        """Raise `StatusError`: NOT_FOUND when the collection is deleted, DATA_LOSS when its files are damaged."""
        if self.deleted:
            raise missing_collection(self.name)
        if self.damage:
            raise StatusError(Code.DATA_LOSS, self.damage)

    @property
    def kills_readers(self) -> bool:
        """Whether readers keep dying on this collection. It must then get its own reader."""
        return self._reader_deaths >= MAX_READER_DEATHS

    def record_counts(self, counts: Counts) -> None:
        """Store the counts that an engine process sent with its reply."""
        self.counts = counts
        self.counted = True
        if not self.kills_readers:
            self._reader_deaths = 0

    def record_death(self, process: EngineProcess) -> None:
        """Count the death of a process that died while it worked on this collection."""
        responsible = process.current is not None and process.current.collection == self.name
        if responsible and not process.alive and process is not self._last_death:
            self._last_death = process
            self._reader_deaths += 1

    def record_write(self, size: int) -> None:
        """Record that a write of `size` bytes is on its way to the holder."""
        self.writes += 1
        self.unsettled_bytes += size
        self.last_write = time.monotonic()

    @property
    def has_writer(self) -> bool:
        """Whether a living writer holds the collection."""
        return self.holder is not None and self.holder.alive and self.held_by_writer

    @property
    def writer(self) -> EngineProcess:
        """The writer that holds the collection. Raises `StatusError` (UNAVAILABLE) when there is none."""
        if self.holder is None or not self.held_by_writer:
            raise unavailable(f"Collection `{self.name}` is moving to another process; try again")
        return self.holder

    def assign(self, process: EngineProcess, *, writer: bool) -> None:
        """Make a process the holder."""
        self.holder = process
        self.held_by_writer = writer

    def can_take(self, *, write: bool) -> bool:
        """Return whether the holder can take a request now.

        A reader never takes an unsettled collection: replaying its log takes time and may fail.
        """
        if self.holder is None or not self.holder.alive or self.moving is not None:
            return False
        if write:
            return self.held_by_writer and not self.settled
        return self.held_by_writer or self.settled

    async def move(self, step: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a step that changes the holder. A caller that is cancelled does not stop the step."""
        while self.moving is not None:
            await asyncio.wait({self.moving})
        self.moving = asyncio.create_task(step())
        self.moving.add_done_callback(self._moved)
        await asyncio.shield(self.moving)

    def _moved(self, task: asyncio.Task[None]) -> None:
        self.moving = None
        if not task.cancelled():
            # Marks the error as seen: the caller that would handle it may be gone.
            task.exception()

    def info(self) -> pb.CollectionInfo:
        """Return the answer to `get_collection`: green only when every acknowledged write is settled."""
        if self.specification is None or self.damage:
            return pb.CollectionInfo(
                status=pb.Red,
                optimizer_status=pb.OptimizerStatus(error=self.damage),
                config=UNKNOWN_CONFIG if self.specification is None else self.specification.config(),
            )
        return pb.CollectionInfo(
            status=pb.Green if self.settled else pb.Yellow,
            optimizer_status=pb.OptimizerStatus(ok=not self.optimizer_error, error=self.optimizer_error),
            segments_count=self.counts.segments,
            points_count=self.counts.points if self.counted else None,
            indexed_vectors_count=self.counts.indexed if self.counted else None,
            config=self.specification.config(),
        )
