"""The janitor: removes what nobody needs any more, whoever left it, and finishes deletions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from catalog.postgres.advisory_lock import JANITOR_LOCK, try_lock
from catalog.postgres.database import Database
from servicekit.errors import ServiceError
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# What must be known to be without need, and goes in this order: vectors before the rows that lead to them.
Task = Callable[[], Awaitable[None]]


class Janitor:
    """Does its rounds beside running workers. One replica at a time: the others find the lock taken."""

    def __init__(self, database: Database, tasks: dict[str, Task], *, seconds: float) -> None:
        """seconds: between rounds. tasks: by name, idempotent; one that fails does not keep the others from running."""
        self._database = database
        self._tasks = tasks
        self._seconds = seconds
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """Something may be waiting: the next round begins now."""
        self._nudged.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Does rounds while entered."""
        async with in_background(self._run(), "janitor"):
            yield

    async def round(self) -> bool:
        """One round; False when another replica does one. Raises ServiceError when the database is away."""
        async with try_lock(self._database, JANITOR_LOCK) as ours:
            if ours:
                for name, task in self._tasks.items():
                    await self._do(name, task)
        return ours

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            try:
                await self.round()
            except ServiceError as error:
                log.warning("janitor_waits", code=error.code)
            except Exception as error:
                log.error("janitor_failed", exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._nudged.wait()

    async def _do(self, name: str, task: Task) -> None:
        try:
            await task()
        except ServiceError as error:
            log.warning("janitor_task_waits", task=name, code=error.code)
        except Exception as error:
            log.error("janitor_task_failed", task=name, exc_info=error)
