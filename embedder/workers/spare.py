"""A worker that waits in case another one dies, so that searches need not wait until a new one has started."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from embedder.workers.process import WorkerProcess

# A spare takes as much memory as any worker, so there is one only for a while after a worker has died.
KEPT_SECONDS = 600.0
LATER_SECONDS = 5.0
DEATHS = ("died", "slow")


class SpareWorker:
    """Keeps one spare worker while workers die."""

    def __init__(self, start: Callable[[], Awaitable[WorkerProcess | None]]) -> None:
        """start: starts a worker that may take the place of any that dies."""
        self._start = start
        self._spare: WorkerProcess | None = None
        self._wanted_until = float("-inf")
        self._changed = asyncio.Event()

    def wanted_after(self, end: str) -> None:
        """Note why a worker had to be replaced."""
        if end in DEATHS:
            self._wanted_until = time.monotonic() + KEPT_SECONDS
            self._changed.set()

    def take(self) -> WorkerProcess | None:
        """Return the spare, which is another's from now on; None if there is none."""
        self._changed.set()
        if self._spare is None or not self._spare.alive:
            return None
        spare, self._spare = self._spare, None
        return spare

    async def keep(self) -> None:
        """Start and stop the spare until cancelled."""
        try:
            while True:
                self._changed.clear()
                await self._adjust()
                await self._wait()
        finally:
            await self._stop()

    async def _adjust(self) -> None:
        wanted = time.monotonic() < self._wanted_until
        if self._spare is not None and not (wanted and self._spare.alive):
            await self._stop()
        if self._spare is None and wanted:
            self._spare = await self._start()

    async def _wait(self) -> None:
        """Wait until something has changed, or until the spare is no longer wanted."""
        left = self._wanted_until - time.monotonic()
        # A worker that could not be started is tried again after a while.
        seconds = None if left <= 0 else left if self._spare is not None else min(left, LATER_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _stop(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            await spare.stop()
