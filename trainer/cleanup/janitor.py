"""The janitor: removes what is no longer needed, whichever process left it behind, and completes deletions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from catalog.postgres.advisory_lock import JANITOR_LOCK, try_lock
from catalog.postgres.database import Database
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

Sweep = Callable[[], Awaitable[None]]


class Janitor:
    """Runs sweeps in rounds, next to running workers. A lock makes sure that only one replica does so at a time."""

    def __init__(self, database: Database, sweeps: dict[str, Sweep], *, seconds: float) -> None:
        """sweeps: by name, in order; each is idempotent, and one that fails does not stop the others.

        seconds: between rounds.
        """
        self._database = database
        self._sweeps = sweeps
        self._seconds = seconds
        self._nudged = asyncio.Event()
        self._rounds = StateLog(log, "janitor_round_failed")
        self._sweep_logs = {name: StateLog(log, "janitor_sweep_failed", sweep=name) for name in sweeps}

    def nudge(self) -> None:
        """Begin the next round now."""
        self._nudged.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run rounds while entered."""
        async with in_background(self._run(), "janitor"):
            yield

    async def round(self) -> bool:
        """Run one round and return True, or False if another replica runs one. Raises ServiceError."""
        async with try_lock(self._database, JANITOR_LOCK) as acquired:
            if acquired:
                for name, sweep in self._sweeps.items():
                    await self._sweep(name, sweep)
        return acquired

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            try:
                await self.round()
                self._rounds.success()
            except Exception as error:
                # The janitor must survive: the next round may succeed.
                self._rounds.failure(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._nudged.wait()

    async def _sweep(self, name: str, sweep: Sweep) -> None:
        try:
            await sweep()
            self._sweep_logs[name].success()
        except Exception as error:
            self._sweep_logs[name].failure(error)
