"""The real Postgres that a gateway needs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from catalog.postgres.migrate import migrate
from standalone.instance.data_directory import opened
from standalone.instance.run_directory import run_directory
from standalone.postgres.server import database_url, ensure_database, postgres_spec, prepare
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import supervised


@asynccontextmanager
async def running_postgres(root: Path) -> AsyncIterator[str]:
    """Run Postgres on the data directory `root`, created if necessary, with our schema. Yields its URL."""
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(opened(root, min_free_bytes=0))
        output = ChildLog("postgres", data.logs)
        sockets = stack.enter_context(run_directory(data))
        await prepare(data, output)
        child = await stack.enter_async_context(supervised(postgres_spec(data, sockets), output, asyncio.Event()))
        await child.wait_ready()
        await ensure_database(sockets)
        await migrate(database_url(sockets))
        yield database_url(sockets)
