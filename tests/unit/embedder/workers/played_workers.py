"""Workers that a test plays: real connections, whose other ends the test answers."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from embedder.metrics import EmbedderMetrics
from embedder.workers.current_request import CurrentRequest
from embedder.workers.messages import WorkerOrders, WorkerReady, WorkRequest, WorkResult, to_header, to_request
from embedder.workers.pool import PoolLimits, WorkerPool
from embedder.workers.process import WorkerProcess
from servicekit.process.child_process import ChildProcess
from servicekit.process.frames import frame_start, read_frame

ORDERS = WorkerOrders("fused", {}, "", "", 1, 1, 1, 1, "none", "cpu", 1)
LIMITS = PoolLimits(workers=1, start_seconds=1, silence_seconds=5, images=100, memory_bytes=1 << 30)
TIMEOUT_SECONDS = 20.0


class PlayedWorker:
    """A worker that answers when the test says so."""

    def __init__(
        self,
        worker: WorkerProcess,
        current: CurrentRequest,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.worker = worker
        self._current = current
        self._reader = reader
        self._writer = writer

    async def request(self) -> WorkRequest:
        """Return the next request that the worker receives."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return to_request(*await read_frame(self._reader))

    def answer(self, request: WorkRequest, vectors: bytes = bytes(4)) -> None:
        """Answer with vectors, by default with one vector of one number."""
        self._writer.write(frame_start(to_header(WorkResult(request.id)), len(vectors)) + vectors)

    def fail(self, request: WorkRequest) -> None:
        """Answer that the engine failed."""
        self._writer.write(frame_start(to_header(WorkResult(request.id, code="embedding_failed"))))

    def begin(self, request: WorkRequest) -> None:
        """Note that the worker works on this request."""
        self._current.note(request.id)

    async def exit(self, end: signal.Signals = signal.SIGKILL) -> None:
        """Exit without an answer, by a signal, and return once the embedder has seen it."""
        with suppress(ProcessLookupError):
            os.kill(self.worker.pid, end)
        self._writer.close()
        while self.worker.alive or self.worker.outstanding:  # noqa: ASYNC110 - another task sees the end of the connection
            await asyncio.sleep(0)
        await run_ready_tasks()


def played_pool(metrics: EmbedderMetrics) -> WorkerPool:
    """Return a pool that starts no workers."""
    return WorkerPool(ORDERS, {}, LIMITS, metrics)


@asynccontextmanager
async def played_worker(pool: WorkerPool, *, reserved: bool = False) -> AsyncIterator[PlayedWorker]:
    """Add a worker to the pool while entered."""
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec("sleep", "60")
    child = ChildProcess(process, *await asyncio.open_connection(sock=ours))
    current = CurrentRequest.allocate()
    worker = WorkerProcess(child, WorkerReady("cpu", "none"), current)
    worker.reserved = reserved
    worker.on_change = lambda _: pool.on_change()
    played = PlayedWorker(worker, current, *await asyncio.open_connection(sock=theirs))
    pool.workers.append(worker)
    pool.on_change()
    try:
        yield played
    finally:
        await played.exit()
        pool.workers.remove(worker)
        worker.kill()
        await worker.stop()


async def run_ready_tasks() -> None:
    """Return once every task has run as far as it can without a worker."""
    for _ in range(20):
        await asyncio.sleep(0)
