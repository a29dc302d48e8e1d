"""Batches for a device: by size and by age, interactive images first, each image its own outcome."""

import asyncio
import itertools
import time
from collections import deque
from dataclasses import dataclass, field, replace

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.stage import Answer
from embedder.workers.pool import WorkerPool
from embedder.workers.process import WorkerGone, WorkerProcess
from embedder.workers.wire import Job, Result

# One batch is computed while the next one is copied.
UNDER_WAY = 2
FLOAT_BYTES = 4


@dataclass(eq=False)
class _Decoded:
    """An image in its slots, with its views."""

    slots: list[int]
    urgent: bool
    alone: bool = False
    since: float = field(default_factory=time.monotonic)
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batching:
    """Collects decoded images in front of the one engine process.

    A batch goes out when it is full, when it holds an interactive image, when its oldest image is `age` seconds old, or
    when the engine has nothing to do and nothing more is being decoded.
    """

    def __init__(
        self, pool: WorkerPool, slots: int, max_batch: int, age: float, dimension: int, metrics: EmbedderMetrics
    ) -> None:
        self._pool = pool
        self._free = list(range(slots))
        self._max_batch = max_batch
        self._age = age
        self._vector_bytes = dimension * FLOAT_BYTES
        self._metrics = metrics
        self._urgent: deque[_Decoded] = deque()
        self._bulk: deque[_Decoded] = deque()
        # Images that have slots; those of them that the engine has.
        self._reserved = 0
        self._with_engine = 0
        self._ids = itertools.count(1)
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        pool.on_change = self._pump

    def reserve(self, count: int) -> list[int] | None:
        """See `Forwarding`."""
        if len(self._free) < count:
            return None
        self._reserved += 1
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    def release(self, slots: list[int]) -> None:
        """See `Forwarding`."""
        self._free += slots
        self._reserved -= 1
        self._pump()

    async def vectors(self, slots: list[int], answer: Answer, *, urgent: bool) -> Answer:
        """See `Forwarding`. An image whose batch failed is tried once more by itself."""
        decoded = _Decoded(slots, urgent)
        (self._urgent if urgent else self._bulk).append(decoded)
        self._pump()
        result, vectors = await decoded.answer
        return replace(result, id=answer[0].id, decode_seconds=answer[0].decode_seconds), vectors

    def _pump(self) -> None:
        while (worker := self._free_worker()) is not None and (batch := self._next_batch(worker)):
            job = Job(next(self._ids), slots=[slot for decoded in batch for slot in decoded.slots])
            self._with_engine += len(batch)
            task = asyncio.create_task(self._follow(batch, worker.give(job, b"")))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _free_worker(self) -> WorkerProcess | None:
        free = [worker for worker in self._pool.usable if worker.outstanding < UNDER_WAY]
        return min(free, key=lambda worker: worker.outstanding, default=None)

    def _next_batch(self, worker: WorkerProcess) -> list[_Decoded]:
        first = self._urgent[0] if self._urgent else self._bulk[0] if self._bulk else None
        if first is None:
            return []
        if not self._is_due(worker):
            self._look_again(self._bulk[0].since + self._age)
            return []
        batch: list[_Decoded] = []
        size = 0
        while (lane := self._urgent or self._bulk) and (not batch or not (batch[0].alone or lane[0].alone)):
            if batch and size + len(lane[0].slots) > self._max_batch:
                break
            size += len(lane[0].slots)
            batch.append(lane.popleft())
        return batch

    def _is_due(self, worker: WorkerProcess) -> bool:
        if self._urgent or sum(len(decoded.slots) for decoded in self._bulk) >= self._max_batch:
            return True
        more_to_come = self._reserved > len(self._bulk) + self._with_engine
        if worker.outstanding == 0 and not more_to_come:
            return True
        return time.monotonic() - self._bulk[0].since >= self._age

    def _look_again(self, moment: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, moment - time.monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._pump()

    async def _follow(self, batch: list[_Decoded], answer: asyncio.Future[Answer]) -> None:
        try:
            result, vectors = await answer
        except WorkerGone:
            result, vectors = Result(0, "embedding_failed", "the engine ended"), b""
        self._with_engine -= len(batch)
        if result.code is None:
            self._metrics.copy.observe(result.copy_seconds)
            self._metrics.forward.observe(result.forward_seconds)
            self._metrics.batch_size.observe(result.batch)
            self._hand_out(batch, result, vectors)
        elif len(batch) > 1 or not batch[0].alone:
            self._once_more(batch)
        else:
            batch[0].answer.set_result((result, b""))
        self._pump()

    def _hand_out(self, batch: list[_Decoded], result: Result, vectors: bytes) -> None:
        start = 0
        for decoded in batch:
            end = start + len(decoded.slots) * self._vector_bytes
            if not decoded.answer.done():
                decoded.answer.set_result((result, vectors[start:end]))
            start = end

    def _once_more(self, batch: list[_Decoded]) -> None:
        """Each image by itself, ahead of the others: what broke the batch is felt by one of them only."""
        self._metrics.retries.inc(len(batch))
        for decoded in reversed(batch):
            decoded.alone = True
            (self._urgent if decoded.urgent else self._bulk).appendleft(decoded)
