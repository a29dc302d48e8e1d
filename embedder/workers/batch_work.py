"""A worker that infers batches of slots: while the device computes one, the next one is copied."""

import json
from collections import deque

import numpy as np

from embedder.engines.batch_engine import BatchEngine, PendingBatch
from embedder.engines.engine import EngineBroken, EngineError
from embedder.workers.arena import Arena
from embedder.workers.memory import resident_bytes
from embedder.workers.wire import Job, Result, header
from servicekit.process.parent_link import ParentLink

UNDER_WAY = 2


class BatchWork:
    """Begins every batch as soon as it is there and fewer than two are under way; answers in order."""

    def __init__(self, engine: BatchEngine, arena: Arena) -> None:
        self._engine = engine
        self._arena = arena

    def serve(self, link: ParentLink) -> None:
        """Answers jobs until the other side is gone: raises EOFError or ConnectionError then. Raises EngineBroken."""
        waiting: deque[Job] = deque()
        begun: deque[tuple[Job, PendingBatch | None]] = deque()
        while True:
            arrived = link.receive_waiting() if waiting or begun else link.receive()
            waiting += (Job(**json.loads(job)) for job, _ in arrived)
            while waiting and len(begun) < UNDER_WAY:
                job = waiting.popleft()
                begun.append((job, self._begin(job)))
            result, vectors = self._collected(*begun.popleft())
            link.send(header(result), vectors)

    def _begin(self, job: Job) -> PendingBatch | None:
        try:
            return self._engine.start(lambda pixels: self._arena.read_into(job.slots, pixels), len(job.slots))
        except EngineBroken:
            raise
        except (EngineError, RuntimeError, MemoryError):
            return None

    def _collected(self, job: Job, pending: PendingBatch | None) -> tuple[Result, bytes]:
        if pending is None:
            return Result(job.id, "embedding_failed", "begin", memory_bytes=resident_bytes()), b""
        try:
            vectors = pending.collect()
        except EngineBroken:
            raise
        except (EngineError, RuntimeError, MemoryError) as error:
            return Result(job.id, "embedding_failed", type(error).__name__, memory_bytes=resident_bytes()), b""
        if not np.isfinite(vectors).all():
            # Half precision overflows for some images. Whoever has the batch finds out which it is.
            return Result(job.id, "embedding_failed", "not finite", memory_bytes=resident_bytes()), b""
        result = Result(
            job.id,
            copy_seconds=pending.copy_seconds,
            forward_seconds=pending.forward_seconds,
            batch=len(job.slots),
            memory_bytes=resident_bytes(),
        )
        return result, vectors.astype("<f4", copy=False).tobytes()
