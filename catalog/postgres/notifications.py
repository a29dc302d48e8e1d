"""Postgres notifications: wake every trainer at once when the job queue changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from catalog.postgres.database import Connection, Database
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

CHANNEL = "similis_jobs"
# How often the connection is checked, to detect one that broke silently. Until then trainers rely on polling.
CHECK_SECONDS = 30.0
RETRY_SECONDS = 1.0


async def notify(connection: Connection) -> None:
    """Notify all listeners that a job is waiting, was cancelled, or was deleted with its collection.

    Inside a transaction the notification is sent on commit.
    """
    await connection.execute(f"NOTIFY {CHANNEL}")


class JobListener:
    """Listens for changes of the job queue on its own connection.

    Notifications can be lost while the connection is down. They only shorten the wait for the next poll.
    """

    def __init__(self, database: Database, on_change: Callable[[], None]) -> None:
        """on_change: called after each notification, and after each connect, because some may have been missed."""
        self._database = database
        self._on_change = on_change
        self._state = StateLog(log, "job_listener_disconnected", "job_listener_connected")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen while entered."""
        async with in_background(self._run(), "job-listener"):
            yield

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:
                # For example a password that is being rotated: the next attempt may succeed.
                self._state.failure(error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        async with self._database.session() as connection:
            await connection.add_listener(CHANNEL, lambda *_: self._on_change())
            self._state.success()
            self._on_change()
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                await connection.execute("SELECT 1")
