"""Workers whose other ends a test plays, over real connections."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from embedder.metrics import EmbedderMetrics
from embedder.workers.pool import PoolLimits, WorkerPool
from embedder.workers.process import WorkerProcess
from embedder.workers.wire import Ready, Result, WorkerOrders, header
from servicekit.process.child_process import ChildProcess
from servicekit.process.frames import frame_start, read_frame

ORDERS = WorkerOrders("fused", {}, "", "", 1, 1, 1, 1, "none", "cpu", 1)
LIMITS = PoolLimits(workers=1, start_seconds=1, silence_seconds=5, images=100, memory_bytes=1 << 30)
SECONDS = 20.0


class Played:
    """A worker that answers when the test says so."""

    def __init__(self, worker: WorkerProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.worker = worker
        self._reader = reader
        self._writer = writer

    async def job(self) -> tuple[dict[str, Any], bytes]:
        """The next job and its image."""
        async with asyncio.timeout(SECONDS):
            job, image = await read_frame(self._reader)
            return json.loads(job), image

    def answer(self, job: dict[str, Any], vectors: bytes = bytes(4)) -> None:
        """Answers a job with vectors, by default one of one number."""
        self._writer.write(frame_start(header(Result(job["id"])), len(vectors)) + vectors)

    def fail(self, job: dict[str, Any]) -> None:
        """Answers that the engine failed."""
        self._writer.write(frame_start(header(Result(job["id"], "embedding_failed", "RuntimeError"))))

    def die(self) -> None:
        """Ends before it answers."""
        self._writer.close()


def played_pool(metrics: EmbedderMetrics) -> WorkerPool:
    """A pool that starts no workers."""
    return WorkerPool(ORDERS, {}, LIMITS, metrics)


@asynccontextmanager
async def played_worker(pool: WorkerPool, *, reserved: bool = False) -> AsyncIterator[Played]:
    """A worker of the pool while entered."""
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec("sleep", "60")
    child = ChildProcess(process, *await asyncio.open_connection(sock=ours))
    worker = WorkerProcess(child, Ready("cpu", "none"))
    worker.reserved = reserved
    worker.on_change = lambda _: pool.on_change()
    played = Played(worker, *await asyncio.open_connection(sock=theirs))
    pool.workers.append(worker)
    pool.on_change()
    try:
        yield played
    finally:
        played.die()
        pool.workers.remove(worker)
        worker.kill()
        await worker.stop()


async def settled() -> None:
    """Returns when all that could go on without the other side has."""
    for _ in range(20):
        await asyncio.sleep(0)
