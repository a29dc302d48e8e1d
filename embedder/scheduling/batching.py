"""Inference in batches by the one engine process, searches first. Every image has its own result."""

import asyncio
import itertools
import time
from collections import deque
from dataclasses import dataclass, field, replace

from embedder.metrics import EmbedderMetrics
from embedder.workers.messages import FLOAT_BYTES, WorkRequest, WorkResult
from embedder.workers.pool import WorkerPool
from embedder.workers.process import WorkerGone, WorkerProcess

# While the engine computes one batch, the next one is copied to the device.
MAX_SUBMITTED = 2


@dataclass(eq=False)
class _DecodedInput:
    """An image that waits for a batch. slots: its pixels and those of its views. alone: not with other images."""

    slots: list[int]
    urgent: bool
    alone: bool = False
    since: float = field(default_factory=time.monotonic)
    result: asyncio.Future[WorkResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class BatchedInference:
    """Collects decoded images into batches.

    A batch is submitted when it is full, when it holds a search, when its oldest image has waited `max_age` seconds, or
    when the engine is idle and no image is being decoded.
    """

    def __init__(
        self, engine: WorkerPool, slots: int, max_batch: int, max_age: float, dimension: int, metrics: EmbedderMetrics
    ) -> None:
        """max_batch: in inputs. max_age: in seconds. dimension: of a vector."""
        self._engine = engine
        self._free_slots = list(range(slots))
        self._max_batch = max_batch
        self._max_age = max_age
        self._vector_bytes = dimension * FLOAT_BYTES
        self._metrics = metrics
        self._urgent: deque[_DecodedInput] = deque()
        self._bulk: deque[_DecodedInput] = deque()
        # Images that hold slots, and those of them that the engine has.
        self._reserved = 0
        self._submitted = 0
        self._ids = itertools.count(1)
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        engine.on_change = self._submit_batches

    def reserve(self, inputs: int) -> list[int] | None:
        """See `Inference`."""
        if len(self._free_slots) < inputs:
            return None
        self._reserved += 1
        taken, self._free_slots = self._free_slots[:inputs], self._free_slots[inputs:]
        return taken

    def release(self, slots: list[int]) -> None:
        """See `Inference`."""
        self._free_slots += slots
        self._reserved -= 1
        self._submit_batches()

    async def infer(self, decoded: WorkResult, slots: list[int], *, urgent: bool) -> WorkResult:
        """See `Inference`. An image whose batch failed is tried once more alone."""
        waiting = _DecodedInput(slots, urgent)
        (self._urgent if urgent else self._bulk).append(waiting)
        self._submit_batches()
        result = await waiting.result
        return replace(
            result,
            id=decoded.id,
            miniature=decoded.miniature,
            miniature_width=decoded.miniature_width,
            warnings=decoded.warnings,
            decode_seconds=decoded.decode_seconds,
        )

    def _submit_batches(self) -> None:
        while (worker := self._free_worker()) is not None and (batch := self._next_batch(worker)):
            request = WorkRequest(next(self._ids), slots=[slot for image in batch for slot in image.slots])
            self._submitted += len(batch)
            task = asyncio.create_task(self._finish(batch, worker.submit(request)))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _free_worker(self) -> WorkerProcess | None:
        free = [worker for worker in self._engine.usable if worker.outstanding < MAX_SUBMITTED]
        return min(free, key=lambda worker: worker.outstanding, default=None)

    def _next_batch(self, worker: WorkerProcess) -> list[_DecodedInput]:
        """Return the next batch for this worker, or an empty list if it is not due yet."""
        if not self._urgent and not self._bulk:
            return []
        if not self._is_due(worker):
            self._check_again_at(self._bulk[0].since + self._max_age)
            return []
        batch: list[_DecodedInput] = []
        size = 0
        while (queue := self._urgent or self._bulk) and (not batch or not (batch[0].alone or queue[0].alone)):
            if batch and size + len(queue[0].slots) > self._max_batch:
                break
            size += len(queue[0].slots)
            batch.append(queue.popleft())
        return batch

    def _is_due(self, worker: WorkerProcess) -> bool:
        if self._urgent or sum(len(image.slots) for image in self._bulk) >= self._max_batch:
            return True
        being_decoded = self._reserved > len(self._bulk) + self._submitted
        if worker.outstanding == 0 and not being_decoded:
            return True
        return time.monotonic() - self._bulk[0].since >= self._max_age

    def _check_again_at(self, moment: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, moment - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._submit_batches()

    async def _finish(self, batch: list[_DecodedInput], pending: asyncio.Future[WorkResult]) -> None:
        try:
            result = await pending
        except WorkerGone:
            result = WorkResult(0, code="embedding_failed", message="the engine process exited")
        self._submitted -= len(batch)
        if result.code is None:
            self._metrics.copy.observe(result.copy_seconds)
            self._metrics.forward.observe(result.forward_seconds)
            self._metrics.batch_size.observe(result.batch_size)
            self._distribute(batch, result)
        elif len(batch) > 1 or not batch[0].alone:
            self._retry_alone(batch)
        else:
            batch[0].result.set_result(result)
        self._submit_batches()

    def _distribute(self, batch: list[_DecodedInput], result: WorkResult) -> None:
        start = 0
        for image in batch:
            end = start + len(image.slots) * self._vector_bytes
            if not image.result.done():
                image.result.set_result(replace(result, vectors=result.vectors[start:end]))
            start = end

    def _retry_alone(self, batch: list[_DecodedInput]) -> None:
        """Queue each image again, alone and ahead of the others, so that only the image at fault fails."""
        self._metrics.retries.inc(len(batch))
        for image in reversed(batch):
            image.alone = True
            (self._urgent if image.urgent else self._bulk).appendleft(image)
