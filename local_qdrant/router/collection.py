"""A collection as the router knows it: what it is, which process holds it, whether it is settled."""

import asyncio
import time
from collections.abc import Callable, Coroutine

from local_qdrant.protocol.messages import collections_pb2 as pb
from local_qdrant.protocol.specification import UNKNOWN_CONFIG, Specification
from local_qdrant.protocol.status import Code, StatusError, missing_collection, unavailable
from local_qdrant.protocol.wire import Counts
from local_qdrant.router.engine_process import EngineProcess

_SUSPICIOUS_DEATHS = 2
_DAMAGE_SECONDS = 10.0


class Collection:
    """The router's state of one collection. Changed on the event loop only.

    A collection's files are open in at most one process, its `holder`. While `moving` runs, it has none that can be
    relied on.
    """

    def __init__(self, name: str, specification: Specification | None, *, settled: bool) -> None:
        """A collection without a specification is broken: it can only be listed and deleted."""
        self.name = name
        self.specification = specification
        self._damage = ""
        self._damage_seen = 0.0
        self.deleted = False
        self.settled = settled
        """Whether every acknowledged write is optimized and flushed."""
        self.counts = Counts()
        self.counted = False
        """Whether `counts` were learnt from the engine since this process started."""
        self.holder: EngineProcess | None = None
        self.written_by_holder = False
        """Whether the holder is a writer, a process of this collection alone."""
        self.hindrance = ""
        """Why the collection cannot be optimized at present."""
        self.moving: asyncio.Task[None] | None = None
        self.writes = 0
        self.unsettled_bytes = 0
        self.last_write = time.monotonic()
        self._deaths = 0
        self._mourned: EngineProcess | None = None

    @property
    def damage(self) -> str:
        """Why the collection's files cannot be used; empty when they can, or when it is time to try again."""
        lasts = self.specification is None or time.monotonic() < self._damage_seen + _DAMAGE_SECONDS
        return self._damage if lasts else ""

    def note_damage(self, message: str) -> None:
        """Remember that an engine process could not open the files. Tried again after some seconds."""
        self._damage = message
        self._damage_seen = time.monotonic()
        self.counted = False

    def check_usable(self) -> None:
        """Raises `StatusError`: NOT_FOUND when the collection is deleted, DATA_LOSS when its files are bad."""
        if self.deleted:
            raise missing_collection(self.name)
        if self.damage:
            raise StatusError(Code.DATA_LOSS, self.damage)

    @property
    def is_suspicious(self) -> bool:
        """Whether serving processes keep dying on this collection, so that it may not share one."""
        return self._deaths >= _SUSPICIOUS_DEATHS

    def note_answer(self, counts: Counts) -> None:
        """Take over what an engine process counted when it answered."""
        self.counts = counts
        self.counted = True
        if not self.is_suspicious:
            self._deaths = 0

    def note_death(self, process: EngineProcess) -> None:
        """Remember that a process is dead, if it died while it worked on this collection."""
        guilty = process.current is not None and process.current.collection == self.name
        if guilty and not process.alive and process is not self._mourned:
            self._mourned = process
            self._deaths += 1

    def needs_writer(self, *, write: bool) -> bool:
        """Whether only a process of its own may hold the collection for such a request.

        An unsettled collection has a log to replay, which takes time and may fail.
        """
        return write or not self.settled

    @property
    def has_writer(self) -> bool:
        """Whether a living writer holds the collection."""
        return self.holder is not None and self.holder.alive and self.written_by_holder

    @property
    def writer(self) -> EngineProcess:
        """The writer that holds the collection. Raises `StatusError` (UNAVAILABLE) when there is none."""
        if self.holder is None or not self.written_by_holder:
            raise unavailable(f"Collection `{self.name}` is on its way to another process; try again")
        return self.holder

    def hold(self, process: EngineProcess, *, writer: bool) -> None:
        """Give the collection into the hands of a process."""
        self.holder = process
        self.written_by_holder = writer

    async def move(self, step: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a change of holder. Nobody uses the collection meanwhile; a caller that goes away does not stop it."""
        while self.moving is not None:
            await asyncio.wait({self.moving})
        self.moving = asyncio.create_task(step())
        self.moving.add_done_callback(self._moved)
        await asyncio.shield(self.moving)

    def _moved(self, task: asyncio.Task[None]) -> None:
        self.moving = None
        if not task.cancelled():
            task.exception()

    def is_held(self, *, write: bool) -> bool:
        """Whether the holder can take such a request as things stand."""
        if self.holder is None or not self.holder.alive:
            return False
        if self.moving is not None:
            return False
        if write:
            return self.written_by_holder and not self.settled
        return self.written_by_holder or not self.needs_writer(write=False)

    def note_write(self, size: int) -> None:
        """Remember that a write of `size` bytes is on its way to the holder."""
        self.writes += 1
        self.unsettled_bytes += size
        self.last_write = time.monotonic()

    def info(self) -> pb.CollectionInfo:
        """The answer to `get_collection`: green only when every acknowledged write is optimized and flushed."""
        if self.specification is None:
            return pb.CollectionInfo(
                status=pb.Red,
                optimizer_status=pb.OptimizerStatus(error=self.damage),
                config=UNKNOWN_CONFIG,
            )
        if self.damage:
            return pb.CollectionInfo(
                status=pb.Red,
                optimizer_status=pb.OptimizerStatus(error=self.damage),
                config=self.specification.config(),
            )
        return pb.CollectionInfo(
            status=pb.Green if self.settled else pb.Yellow,
            optimizer_status=pb.OptimizerStatus(ok=not self.hindrance, error=self.hindrance),
            segments_count=self.counts.segments,
            points_count=self.counts.points if self.counted else None,
            indexed_vectors_count=self.counts.indexed if self.counted else None,
            config=self.specification.config(),
        )
