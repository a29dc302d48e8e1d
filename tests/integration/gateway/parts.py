"""The real Postgres that a gateway needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from catalog.postgres.migrate import migrate
from standalone.instance.data_directory import open_data_directory
from standalone.postgres.database import running_database
from tests.integration.databases import administer


@asynccontextmanager
async def running_postgres(root: Path) -> AsyncIterator[str]:
    """Run Postgres with our schema on the data directory `root`, and yield the URL of the database."""
    async with open_data_directory(root, min_free_bytes=0) as data, running_database(data) as url:
        # Tests end processes, never the machine, so nothing has to reach the disk.
        await administer(url, "ALTER SYSTEM SET fsync = off")
        await administer(url, "SELECT pg_reload_conf()")
        await migrate(url)
        yield url
