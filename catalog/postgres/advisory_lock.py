"""Advisory locks: let only one process at a time do a piece of work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from catalog.postgres.database import Database

# Arbitrary numbers that nothing else uses on this database.
JANITOR_LOCK = 7_367_105_520
MIGRATION_LOCK = 7_367_105_521


@asynccontextmanager
async def try_lock(database: Database, number: int) -> AsyncIterator[bool]:
    """Try to take a lock while entered, and yield whether that succeeded. Raises as `Database.connection` does.

    The lock ends with its connection, so a killed process holds none.
    """
    async with database.session() as connection:
        acquired: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1)", number)
        # An error ends the session and the lock, without waiting for a database that may itself be the problem.
        yield acquired
        if acquired:
            await connection.execute("SELECT pg_advisory_unlock($1)", number)
