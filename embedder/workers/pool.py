"""Keeps a number of workers alive: starts, replaces those that die, swell or are old, stops all."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType

from embedder.metrics import EmbedderMetrics
from embedder.workers.process import WorkerGone, WorkerProcess, WorkerUnfit
from embedder.workers.wire import WorkerOrders
from servicekit.backoff import Backoff
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

WATCH_SECONDS = 0.25
# What a large backbone may take for an image on a small machine, beyond the silence that is allowed.
SECONDS_AN_IMAGE = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
# A tenth of a processor's time while something of nice 0 wants it, all of it otherwise.
BULK_NICENESS = 10


@dataclass(frozen=True)
class PoolLimits:
    """How many workers, and when one is replaced.

    reserved: workers beside those that take interactive images only; the others then step back for all processes that
    a search needs. start_seconds: until it must be ready. silence_seconds: without an answer although it has a job
    (and a second more for each image of it). images and memory_bytes: a worker that has done or holds more is replaced
    by a new one, without a gap.
    """

    workers: int
    start_seconds: float
    silence_seconds: float
    images: int
    memory_bytes: int
    reserved: int = 0


class WorkerPool:
    """Enter it to start the workers; entering waits until one of them works, or raises WorkerUnfit or WorkerGone."""

    def __init__(
        self,
        orders: WorkerOrders,
        environment: dict[str, str],
        limits: PoolLimits,
        metrics: EmbedderMetrics,
        arena: int = -1,
    ) -> None:
        self._arena = arena
        self._orders = orders
        self._environment = environment
        self._limits = limits
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []
        self._first: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self.on_change: Callable[[], None] = lambda: None
        self.workers: list[WorkerProcess] = []

    @property
    def first(self) -> WorkerProcess:
        """The worker that was ready first. Only after the pool was entered."""
        return self._first.result()

    @property
    def usable(self) -> list[WorkerProcess]:
        """Workers that may be given jobs."""
        return [worker for worker in self.workers if worker.alive and not worker.retiring]

    async def __aenter__(self) -> "WorkerPool":
        self._tasks = [
            asyncio.create_task(self._keep_one(slot)) for slot in range(self._limits.reserved + self._limits.workers)
        ]
        try:
            await self._first
        except BaseException:
            await self._stop()
            raise
        self._tasks.append(asyncio.create_task(self._watch()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_one(self, slot: int) -> None:
        """One place of the pool: there is always a worker in it, or one on its way."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        # The one at work, and before it the one that it replaces, until that has ended.
        held: list[WorkerProcess] = []
        try:
            while True:
                fresh = await self._started(reserved=slot < self._limits.reserved)
                if fresh is None:
                    await asyncio.sleep(backoff.delay())
                    continue
                held.append(fresh)
                born, over = time.monotonic(), self._begin(fresh)
                for old in held[:-1]:
                    await self._retire(old)
                    held.remove(old)
                reason = await over
                self._metrics.worker_ends.labels(reason).inc()
                log.info("worker_replaced", slot=slot, pid=fresh.pid, reason=reason, images=fresh.answered)
                if reason == "died":
                    if time.monotonic() - born > LONGEST_PAUSE:
                        backoff.reset()
                    await self._retire(fresh)
                    held.remove(fresh)
                    await asyncio.sleep(backoff.delay())
        finally:
            for worker in held:
                await self._retire(worker)

    async def _started(self, *, reserved: bool) -> WorkerProcess | None:
        steps_back = self._limits.reserved and not reserved
        orders = replace(self._orders, niceness=BULK_NICENESS if steps_back else 0)
        try:
            worker = await WorkerProcess.start(orders, self._environment, self._limits.start_seconds, self._arena)
        except (WorkerUnfit, WorkerGone, OSError) as error:
            log.error("worker_start_failed", reason=str(error))
            if not self._first.done():
                self._first.set_exception(error)
            return None
        worker.reserved = reserved
        if not self._first.done():
            self._first.set_result(worker)
        return worker

    def _begin(self, worker: WorkerProcess) -> asyncio.Future[str]:
        """Has the worker take jobs. The future has the reason when it must be replaced."""
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def changed(changed_worker: WorkerProcess) -> None:
            reason = self._reason_to_replace(changed_worker)
            if reason is not None and not over.done():
                over.set_result(reason)
            self._changed()

        worker.on_change = changed
        self.workers.append(worker)
        changed(worker)
        return over

    def _reason_to_replace(self, worker: WorkerProcess) -> str | None:
        if not worker.alive:
            return "died"
        if worker.memory_bytes > self._limits.memory_bytes:
            return "memory"
        return "age" if worker.answered >= self._limits.images else None

    async def _retire(self, worker: WorkerProcess) -> None:
        """Gives it no more jobs, lets it answer those that it has, ends it."""
        worker.retiring = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.silence_seconds):
                await worker.answered_all()
        await worker.stop()
        if worker in self.workers:
            self.workers.remove(worker)
        self._changed()

    def _changed(self) -> None:
        self._metrics.workers.labels(self._orders.role).set(len(self.usable))
        self.on_change()

    async def _watch(self) -> None:
        """Kills workers that have a job and say nothing."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for worker in self.workers:
                silent = time.monotonic() - worker.progressed_at
                patience = self._limits.silence_seconds + worker.images * SECONDS_AN_IMAGE
                if worker.alive and worker.outstanding and silent > patience:
                    log.warning("worker_silent", pid=worker.pid, seconds=round(silent, 1))
                    worker.kill()
