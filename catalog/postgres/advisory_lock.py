"""Advisory locks: what only one process at a time should do, whichever it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from catalog.postgres.database import Database

# Any number that nobody else uses on this database.
JANITOR_LOCK = 7_367_105_520


@asynccontextmanager
async def try_lock(database: Database, number: int) -> AsyncIterator[bool]:
    """Whether the lock is ours while entered. It ends with its connection, so a killed process holds none.

    Raises what `Database.connection` raises.
    """
    async with database.connection() as connection:
        got: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1)", number)
        try:
            yield got
        except BaseException:
            # Ends the lock too, without waiting for a database that may be what went wrong.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise
        if got:
            await connection.execute("SELECT pg_advisory_unlock($1)", number)
