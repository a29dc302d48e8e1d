"""A worker that infers batches of slots: while the device computes one, the next one is copied to it."""

from collections import deque

import numpy as np

from embedder.engines.batch_engine import BatchEngine, PendingBatch
from embedder.engines.engine import EngineBroken, EngineError
from embedder.workers.arena import Arena
from embedder.workers.handler import send_result
from embedder.workers.messages import WorkRequest, WorkResult, to_request
from servicekit.process.parent_link import ParentLink

MAX_STARTED = 2


class BatchLoop:
    """Starts every batch as soon as fewer than two are in progress, and answers in order."""

    def __init__(self, engine: BatchEngine, arena: Arena) -> None:
        self._engine = engine
        self._arena = arena

    def serve(self, link: ParentLink) -> None:
        """Answer requests until EOFError or ConnectionError (the parent hung up) or EngineBroken is raised."""
        waiting: deque[WorkRequest] = deque()
        started: deque[tuple[WorkRequest, PendingBatch | EngineError]] = deque()
        while True:
            frames = link.receive_waiting() if waiting or started else link.receive()
            waiting += (to_request(header, body) for header, body in frames)
            while waiting and len(started) < MAX_STARTED:
                request = waiting.popleft()
                started.append((request, self._start(request)))
            send_result(link, self._collect(*started.popleft()))

    def _start(self, request: WorkRequest) -> PendingBatch | EngineError:
        try:
            slots = request.slots
            return self._engine.start(lambda pixels: self._arena.read_into(slots, pixels), len(slots))
        except EngineBroken:
            raise
        except (EngineError, RuntimeError, MemoryError) as error:
            return EngineError(type(error).__name__)

    def _collect(self, request: WorkRequest, batch: PendingBatch | EngineError) -> WorkResult:
        try:
            if isinstance(batch, EngineError):
                raise batch
            vectors = batch.collect()
        except EngineBroken:
            raise
        except (EngineError, RuntimeError, MemoryError) as error:
            return WorkResult(request.id, code="embedding_failed", message=f"{type(error).__name__}: {error}")
        if not np.isfinite(vectors).all():
            # Half precision overflows for some images. The embedder tries each image of the batch alone.
            return WorkResult(request.id, code="embedding_failed", message="vectors are not finite")
        return WorkResult(
            request.id,
            vectors.astype("<f4", copy=False).tobytes(),
            copy_seconds=batch.copy_seconds,
            forward_seconds=batch.forward_seconds,
            batch_size=len(request.slots),
        )
