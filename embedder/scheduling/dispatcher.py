"""Gives images to workers: interactive ones first, late, and never twice to die."""

import asyncio
import itertools
import time
from collections import deque

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.queue import Lane
from embedder.scheduling.stage import Answer, Forwarding
from embedder.scheduling.work_item import Item, Outcome
from embedder.workers.pool import WorkerPool
from embedder.workers.process import WorkerGone, WorkerProcess
from embedder.workers.wire import Job, Result
from servicekit.errors import DeadlineExceeded
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A worker is given its next image while it works on one, so that it never waits for us.
DEPTH = 2
BULK_AHEAD = 1.5
FLOAT_BYTES = 4


class Dispatcher:
    """The one queue in front of a pool. Everything happens on the event loop, whenever something changes."""

    def __init__(
        self,
        pool: WorkerPool,
        forwarding: Forwarding,
        interactive: Lane,
        bulk: Lane,
        dimension: int,
        metrics: EmbedderMetrics,
    ) -> None:
        self._pool = pool
        self._forwarding = forwarding
        self._lanes = {"interactive": interactive, "bulk": bulk}
        self._interactive = interactive
        self._bulk = bulk
        self._vector_bytes = dimension * FLOAT_BYTES
        self._metrics = metrics
        self._suspects: deque[Item] = deque()
        # When a suspect was last seen at work. Searches that were there by then have waited for one.
        self._suspect_seen = float("-inf")
        self._running: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)
        self.succeeded_at = 0.0
        pool.on_change = self.pump

    async def embed(self, item: Item) -> Outcome:
        """The outcome of an image.

        An interactive image raises Overloaded when its lane is full; a bulk image waits for room. Raises
        DeadlineExceeded when its time is over before a worker began.
        """
        lane = self._lanes[item.lane]
        try:
            async with asyncio.timeout(max(0.0, item.deadline - time.monotonic())):
                if item.lane == "interactive":
                    lane.put(item)
                else:
                    await lane.put_in_turn(item)
                self.pump()
                return await item.outcome
        except TimeoutError:
            raise DeadlineExceeded("The image was not embedded in time.") from None
        finally:
            if not item.outcome.done():
                item.outcome.cancel()
            lane.drop(item)

    async def drained(self) -> None:
        """Returns when no image is with a worker."""
        while self._running:
            await asyncio.wait(self._running)

    def pump(self) -> None:
        """Gives out what can be given."""
        if any(worker.holds_suspect for worker in self._pool.workers):
            self._suspect_seen = time.monotonic()
        while self._give_suspect() or self._give(self._interactive) or self._give(self._bulk):
            pass

    def _give_suspect(self) -> bool:
        worker = self._kept_free()
        if worker is None or worker.outstanding:
            return False
        slots = self._forwarding.reserve(1 + self._suspects[0].views)
        if slots is None:
            return False
        self._start(worker, self._suspects.popleft(), slots)
        return True

    def _kept_free(self) -> WorkerProcess | None:
        """The worker that gets nothing more until the next suspect has it for itself, however much else comes.

        Not that of searches while another lives; and none while a search is there that waited for a suspect before.
        """
        while self._suspects and not self._is_due(self._suspects[0]):
            self._suspects.popleft()
        search = self._interactive.first()
        if not self._suspects or (search is not None and search.arrived <= self._suspect_seen):
            return None
        return min(self._pool.usable, key=lambda one: (one.reserved, one.outstanding), default=None)

    def _give(self, lane: Lane) -> bool:
        worker = self._worker_for(lane)
        if worker is None:
            return False
        item = lane.first()
        if item is None:
            return False
        slots = self._forwarding.reserve(1 + item.views)
        if slots is None:
            return False
        lane.take()
        if self._is_due(item):
            self._start(worker, item, slots)
        else:
            self._forwarding.release(slots)
        return True

    def _is_due(self, item: Item) -> bool:
        """Whether anybody still waits for it."""
        if item.wanted and time.monotonic() >= item.deadline:
            item.fail(DeadlineExceeded("The image was not embedded in time."))
        return item.wanted

    def _worker_for(self, lane: Lane) -> WorkerProcess | None:
        if not len(lane):
            return None
        kept_free = self._kept_free()
        usable = [worker for worker in self._pool.usable if not worker.holds_suspect and worker is not kept_free]
        if lane.name == "bulk":
            if all(worker.reserved for worker in self._pool.usable):
                # Rather than that nobody does: but never so that a search waits for more than one.
                free = [worker for worker in usable if not worker.outstanding]
            else:
                free = [worker for worker in usable if worker.outstanding < DEPTH and not worker.reserved]
            return min(free, key=lambda one: one.outstanding, default=None)
        free = [worker for worker in usable if worker.urgent < DEPTH]
        # Of the busy ones, that which began longest ago is likely to end first.
        return min(free, key=lambda one: (_ahead(one), not one.reserved, one.progressed_at), default=None)

    def _start(self, worker: WorkerProcess, item: Item, slots: list[int]) -> None:
        now = time.monotonic()
        self._metrics.queue_wait.labels(item.lane).observe(now - item.arrived)
        urgent = item.lane == "interactive"
        # Nobody is slowed by it who does not step back.
        lone = all(one.urgent == 0 if worker.reserved else one.outstanding == 0 for one in self._pool.workers)
        job = Job(
            id=next(self._ids),
            urgent=urgent,
            wide=urgent and lone,
            views=item.views,
            seed=item.seed,
            canary=item.canary,
            slots=slots,
        )
        answer = worker.give(job, item.image, alone=item.alone)
        task = asyncio.create_task(self._follow(item, slots, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _follow(self, item: Item, slots: list[int], answer: asyncio.Future[Answer]) -> None:
        try:
            result, vectors = await answer
            if result.code is None:
                urgent = item.lane == "interactive"
                result, vectors = await self._forwarding.vectors(slots, (result, vectors), urgent=urgent)
        except WorkerGone:
            self._worker_died_with(item)
        else:
            self._settle(item, result, vectors)
        self._forwarding.release(slots)
        self.pump()

    def _worker_died_with(self, item: Item) -> None:
        """Each image that a dead worker had is tried once more, alone; the one that kills again is at fault."""
        if not item.wanted:
            return
        if item.alone:
            log.warning("image_ended_worker", lane=item.lane, image_bytes=len(item.image))
            item.settle(Outcome(code="decode_error", message="The image could not be decoded: it ended the decoder."))
            return
        self._metrics.retries.inc()
        item.alone = True
        self._suspects.append(item)

    def _settle(self, item: Item, result: Result, vectors: bytes) -> None:
        if result.code is not None:
            item.settle(Outcome(code=result.code, message=result.message))
            return
        self.succeeded_at = time.monotonic()
        self._metrics.decode.observe(result.decode_seconds)
        size = self._vector_bytes
        item.settle(Outcome(tuple(vectors[start : start + size] for start in range(0, len(vectors), size))))


def _ahead(worker: WorkerProcess) -> float:
    """How long an urgent image would wait there, in images. A bulk image under way is in a worker that steps back."""
    return worker.urgent + (BULK_AHEAD if worker.outstanding > worker.urgent else 0.0)
