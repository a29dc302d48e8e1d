"""Keep a number of workers running, and replace those that exit, hang, grow too large or too old."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType

from embedder.metrics import EmbedderMetrics
from embedder.workers.messages import WorkerOrders
from embedder.workers.process import WorkerGone, WorkerProcess, WorkerUnfit
from embedder.workers.spare import SpareWorker
from servicekit.backoff import Backoff
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

WATCH_SECONDS = 0.25
# What a large backbone may need for one input on a small machine, beyond the silence that the limits allow.
SECONDS_PER_INPUT = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
# Such a process gets a tenth of a core while a process of normal priority wants it, and all of it otherwise.
BULK_NICENESS = 10


@dataclass(frozen=True)
class PoolLimits:
    """How many workers a pool has, and when it replaces one.

    workers: for all images. reserved: additional workers for searches only; the others then run at low priority.
    start_seconds: how long a worker may take to get ready. silence_seconds: how long it may take for an answer, plus a
    second for each input. images, memory_bytes: a worker that has answered or holds more is replaced once its
    replacement is ready.
    """

    workers: int
    start_seconds: float
    silence_seconds: float
    images: int
    memory_bytes: int
    reserved: int = 0


class WorkerPool:
    """Runs workers while it is entered. Entering waits for the first one, or raises WorkerUnfit or WorkerGone."""

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
        self._spares = SpareWorker(lambda: self._start(reserved=limits.reserved > 0))
        self.on_change: Callable[[], None] = lambda: None
        self.workers: list[WorkerProcess] = []

    @property
    def first(self) -> WorkerProcess:
        """The worker that was ready first, once the pool is entered."""
        return self._first.result()

    @property
    def usable(self) -> list[WorkerProcess]:
        """The workers that accept requests."""
        return [worker for worker in self.workers if worker.alive and not worker.retiring]

    async def __aenter__(self) -> "WorkerPool":
        places = self._limits.reserved + self._limits.workers
        self._tasks = [asyncio.create_task(self._keep_one(place)) for place in range(places)]
        try:
            await self._first
        except BaseException:
            await self._stop()
            raise
        self._tasks += [asyncio.create_task(self._kill_silent_workers()), asyncio.create_task(self._spares.keep())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_one(self, place: int) -> None:
        """Keep one worker running in this place of the pool."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        # The running worker and, until it has stopped, the one that it replaces.
        held: list[WorkerProcess] = []
        try:
            while True:
                fresh = await self._next(reserved=place < self._limits.reserved)
                if fresh is None:
                    await asyncio.sleep(backoff.delay())
                    continue
                held.append(fresh)
                started_at, end = time.monotonic(), self._take_into_service(fresh)
                for old in held[:-1]:
                    await self._retire(old)
                    held.remove(old)
                reason = await end
                self._metrics.worker_ends.labels(reason).inc()
                log.info("worker_replaced", slot=place, pid=fresh.pid, reason=reason, images=fresh.answered)
                self._spares.wanted_after(reason)
                if reason == "slow":
                    await self._retire(fresh)
                    held.remove(fresh)
                if reason == "died":
                    if time.monotonic() - started_at > LONGEST_PAUSE:
                        backoff.reset()
                    await self._retire(fresh)
                    held.remove(fresh)
                    await asyncio.sleep(backoff.delay())
        finally:
            for worker in held:
                await self._retire(worker)

    async def _next(self, *, reserved: bool) -> WorkerProcess | None:
        """Return the spare worker if it has the right priority, otherwise a new one. Return None if that fails."""
        spare = self._spares.take() if reserved or not self._limits.reserved else None
        if spare is None:
            return await self._start(reserved=reserved)
        spare.reserved = reserved
        return spare

    async def _start(self, *, reserved: bool) -> WorkerProcess | None:
        """Start a worker. Return None if that fails; if it is the first one, entering the pool fails too."""
        low_priority = self._limits.reserved and not reserved
        orders = self._orders
        if low_priority:
            # It is never the only one that runs, so it does not need the second form of the model.
            orders = replace(orders, niceness=BULK_NICENESS, all_threads=orders.threads)
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

    def _take_into_service(self, worker: WorkerProcess) -> asyncio.Future[str]:
        """Let the worker accept requests. The future returns why it has to be replaced."""
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def changed(changed_worker: WorkerProcess) -> None:
            reason = self._reason_to_replace(changed_worker)
            if reason is not None and not end.done():
                end.set_result(reason)
            self._changed()

        worker.on_change = changed
        self.workers.append(worker)
        changed(worker)
        return end

    def _reason_to_replace(self, worker: WorkerProcess) -> str | None:
        if not worker.alive:
            return "slow" if worker.out_of_time else "died"
        if worker.memory_bytes > self._limits.memory_bytes:
            return "memory"
        return "age" if worker.answered >= self._limits.images else None

    async def _retire(self, worker: WorkerProcess) -> None:
        """Let the worker answer the requests that it has, and stop it."""
        worker.retiring = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.silence_seconds):
                await worker.drain()
        await worker.stop()
        if worker in self.workers:
            self.workers.remove(worker)
        self._changed()

    def _changed(self) -> None:
        self._metrics.workers.labels(self._orders.role).set(len(self.usable))
        self.on_change()

    async def _kill_silent_workers(self) -> None:
        """Kill workers that have a request and do not respond in time."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for worker in self.workers:
                silent = time.monotonic() - worker.progressed_at
                allowed = self._limits.silence_seconds + worker.inputs * SECONDS_PER_INPUT
                if worker.alive and worker.outstanding and silent > allowed:
                    log.warning("worker_unresponsive", pid=worker.pid, seconds=round(silent, 1))
                    worker.kill()
