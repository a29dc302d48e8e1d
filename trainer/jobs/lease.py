"""The lease of a job: renewed by heartbeats while the job runs."""

import asyncio
import time
from collections.abc import Coroutine
from enum import Enum
from typing import Generic, Protocol

from catalog.postgres.leased_queue import JobT, LeasedQueue, LeaseLost, PhaseCounts
from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# Heartbeats also publish progress. They are at least this far apart, however fast it changes.
SHORTEST_SECONDS = 0.5
RETRY_SECONDS = 1.0


class CancelRequested(Exception):
    """A user asked to cancel the job."""


class JobProgress(Protocol):
    """The progress of a job. percent: never falls. changed: set at every change; the reader clears it."""

    percent: float
    changed: asyncio.Event

    @property
    def phase(self) -> Enum:
        """What the job is doing. The value is a name for clients."""
        ...

    @property
    def counts(self) -> PhaseCounts:
        """How much of the phase is done."""
        ...


class Lease(Generic[JobT]):
    """The lease of one claimed job."""

    def __init__(self, jobs: LeasedQueue[JobT], job: JobT, progress: JobProgress, *, lease_seconds: float) -> None:
        """jobs: without retries, since a heartbeat that is late is worth nothing."""
        self._jobs = jobs
        self._job = job
        self._progress = progress
        self._seconds = lease_seconds
        self._published = ("", -1)

    def renew_now(self) -> None:
        """Send a heartbeat now, which also finds out whether the job was cancelled."""
        self._published = ("", -1)
        self._progress.changed.set()

    async def hold(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` while renewing the lease, and return when it has ended.

        Raises what `work` raises, LeaseLost when another worker may have the job, and CancelRequested. In each case
        `work` has stopped.
        """
        working = asyncio.create_task(work)
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            first = working if working.done() else renewing
        finally:
            working.cancel()
            renewing.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
        if first.cancelled():
            # Raised as it is, it would look like a request to stop this process.
            raise RuntimeError("The work cancelled itself.")
        first.result()

    async def _renew(self) -> None:
        """Send heartbeats until one fails for good. A database outage shorter than the lease is tolerated."""
        renewed = time.monotonic()
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._seconds / 3):
                    await self._beat()
            except LeaseLost:
                raise
            except (ServiceError, TimeoutError) as error:
                if time.monotonic() - renewed > self._seconds:
                    raise LeaseLost("The lease expired while the database was not available.") from error
                log.warning("heartbeat_failed", reason=str(error) or type(error).__name__)
                await asyncio.sleep(min(RETRY_SECONDS, self._seconds / 10))
            else:
                renewed = began
                await self._until_next_beat()

    async def _beat(self) -> None:
        progress = self._progress
        if await self._jobs.heartbeat(self._job, progress.phase.value, progress.percent, progress.counts):
            raise CancelRequested

    async def _until_next_beat(self) -> None:
        """Wait until there is progress to publish, for at most a third of the lease."""
        self._published = self._state()
        await asyncio.sleep(min(SHORTEST_SECONDS, self._seconds / 10))
        try:
            async with asyncio.timeout(self._seconds / 3):
                while self._state() == self._published:
                    self._progress.changed.clear()
                    await self._progress.changed.wait()
        except TimeoutError:
            pass

    def _state(self) -> tuple[str, int]:
        phase: str = self._progress.phase.value
        return phase, int(self._progress.percent)
