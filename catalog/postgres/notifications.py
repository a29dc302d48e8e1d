"""JobListener between processes, through Postgres: what one replica was told concerns the one that runs the job."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from catalog.postgres.database import Connection, Database
from servicekit.errors import ServiceError
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

CHANNEL = "similis_jobs"
# A connection that broke silently is found out; until then heartbeats find what notices would have told.
CHECK_SECONDS = 30.0
RETRY_SECONDS = 1.0


async def notify(connection: Connection) -> None:
    """Tells all who listen, when the transaction is committed, that somebody wants a job to end."""
    await connection.execute(f"NOTIFY {CHANNEL}")


class JobListener:
    """Listens on a connection of its own. A notice may be lost: it makes prompt what would be found out anyway."""

    def __init__(self, database: Database, heard: Callable[[], None]) -> None:
        """heard: called for every notice, and whenever some may have been missed."""
        self._database = database
        self._heard = heard

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens while entered."""
        async with in_background(self._run(), "notices"):
            yield

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except ServiceError as error:
                log.warning("notices_wait", code=error.code)
            except Exception as error:
                # A password that is just being changed, say: the next try may do.
                log.error("notices_failed", exc_info=error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        async with self._database.connection() as connection:
            await connection.add_listener(CHANNEL, lambda *_: self._heard())
            self._heard()
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                await connection.execute("SELECT 1")
