"""Wait for the database's schema. The gateway listens at once, but serves the API only once it exists."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from catalog.postgres.database import Database
from catalog.postgres.migrate import schema_version, wait_for_schema
from servicekit.errors import ServiceError, Unavailable
from servicekit.process.background import in_background
from servicekit.request_context import remaining

CHECK_SECONDS = 1.0


class SchemaWait:
    """Wait in the background until `similis migrate` has run."""

    def __init__(self, database: Database, waiting: "asyncio.Task[None]") -> None:
        self._database = database
        self._waiting = waiting

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database) -> AsyncIterator["SchemaWait"]:
        """Wait while entered."""
        async with in_background(wait_for_schema(database), "schema-wait") as waiting:
            yield cls(database, waiting)

    async def check(self) -> None:
        """Raise Unavailable if there is no schema after a short wait, which is usually enough right after the start.

        If the database does not respond, the error says that instead.
        """
        if not self._waiting.done():
            await asyncio.wait({self._waiting}, timeout=remaining(CHECK_SECONDS))
        if not self._waiting.done():
            await self._require_database()
            message = "The database has no schema yet. An operator must run `similis migrate`."
            raise Unavailable(message, code="schema_missing")

    async def _require_database(self) -> None:
        try:
            await schema_version(self._database)
        except ServiceError:
            raise
        except Exception as error:
            # The task that waits has logged it.
            raise Unavailable("The database is not available.", code="database_unavailable") from error
