"""A job's lease: kept by heartbeats for as long as its work goes on."""

import asyncio
import time

from catalog.jobs import Job, Jobs, LeaseLost
from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger
from trainer.jobs.progress import Progress

log = get_logger(__name__)

# A beat shows progress too: not more often than this, however fast it changes.
SHORTEST_SECONDS = 0.5
RETRY_SECONDS = 1.0


class CancelRequested(Exception):
    """Somebody asked the job to end."""


class Lease:
    """The lease of one claimed job."""

    def __init__(self, jobs: Jobs, job: Job, progress: Progress, *, lease_seconds: float) -> None:
        self._jobs = jobs
        self._job = job
        self._progress = progress
        self._seconds = lease_seconds
        self._shown = ("", -1)

    def beat_now(self) -> None:
        """Looks at once whether somebody asked the job to end."""
        self._shown = ("", -1)
        self._progress.changed.set()

    async def keep(self) -> None:
        """Never returns. Raises LeaseLost when the job is not ours any more, and CancelRequested.

        A database that is away for less than the lease is waited for. After that another worker may have the job.
        """
        held_from = time.monotonic()
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._seconds / 3):
                    await self._beat()
            except LeaseLost:
                raise
            except (ServiceError, TimeoutError) as error:
                if time.monotonic() - held_from > self._seconds:
                    raise LeaseLost("The database was away for longer than the lease.") from error
                log.warning("heartbeat_failed", reason=str(error) or type(error).__name__)
                await asyncio.sleep(min(RETRY_SECONDS, self._seconds / 10))
            else:
                held_from = began
                await self._until_next_beat()

    async def _beat(self) -> None:
        progress = self._progress
        if await self._jobs.heartbeat(self._job, progress.phase.value, progress.percent, progress.counts):
            raise CancelRequested

    async def _until_next_beat(self) -> None:
        self._shown = self._worth_showing()
        await asyncio.sleep(min(SHORTEST_SECONDS, self._seconds / 10))
        try:
            async with asyncio.timeout(self._seconds / 3):
                while self._worth_showing() == self._shown:
                    self._progress.changed.clear()
                    await self._progress.changed.wait()
        except TimeoutError:
            pass

    def _worth_showing(self) -> tuple[str, int]:
        return self._progress.phase.value, int(self._progress.percent)
