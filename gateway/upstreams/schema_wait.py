"""Wait for the database's schema. The gateway listens at once, but serves the API only once it exists."""

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
    """Wait in the background until `similis migrate` has run."""

    def __init__(self, waiting: "asyncio.Task[None]") -> None:
        self._waiting = waiting

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database) -> AsyncIterator["SchemaWait"]:
        """Wait while entered."""
        async with in_background(wait_for_schema(database), "schema-wait") as waiting:
            yield cls(waiting)

    async def check(self) -> None:
        """Raise Unavailable if there is no schema after a short wait, which is usually enough right after the start."""
        if not self._waiting.done():
            await asyncio.wait({self._waiting}, timeout=remaining(CHECK_SECONDS))
        if not self._waiting.done():
            message = "The database has no schema yet. An operator must run `similis migrate`."
            raise Unavailable(message, code="schema_missing")
