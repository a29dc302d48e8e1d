"""The gateway listens at once, and serves the API when the database has the schema that it reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from catalog.postgres.database import Database
from catalog.postgres.migrate import wait_for_schema
from servicekit.errors import Unavailable
from servicekit.process.background import in_background
from servicekit.request_context import remaining

CHECK_SECONDS = 1.0


class SchemaWait:
    """Waits in the background until `similis migrate` has run."""

    def __init__(self, waiting: "asyncio.Task[None]") -> None:
        self._waiting = waiting

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database) -> AsyncIterator["SchemaWait"]:
        """Waits while entered."""
        async with in_background(wait_for_schema(database), "schema-wait") as waiting:
            yield cls(waiting)

    async def check(self) -> None:
        """Raises Unavailable until the schema is there; waits a moment for it, as at the start it mostly is."""
        if not self._waiting.done():
            await asyncio.wait({self._waiting}, timeout=remaining(CHECK_SECONDS))
        if not self._waiting.done():
            raise Unavailable("The database is not set up yet.", code="schema_missing")
