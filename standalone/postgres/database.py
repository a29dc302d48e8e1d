"""The database of an instance, for one command: the running one's, or started for the occasion."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from standalone.instance.data_directory import existing, in_use, opened
from standalone.instance.run_directory import check_private, location, run_directory
from standalone.postgres.server import database_url, ensure_database, postgres_spec, prepare
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import supervised


@asynccontextmanager
async def instance_database(root: Path) -> AsyncIterator[str]:
    """The URL of the database of the instance in `root` while entered.

    Raises StartupError when there is no instance, when it is just being started, or when it cannot be.
    """
    data = existing(root)
    if in_use(data):
        sockets = location(data)
        check_private(sockets, data)
        yield database_url(sockets)
        return
    sys.stderr.write("similis: not running; its database is started for this command\n")
    # No space is asked for: a disk that is nearly full is no reason not to revoke a key.
    async with opened(root, min_free_bytes=0) as data:
        with run_directory(data) as sockets:
            output = ChildLog("postgres", data.logs)
            await prepare(data, output)
            async with supervised(postgres_spec(data, sockets), output, asyncio.Event()) as postgres:
                await postgres.wait_ready()
                await ensure_database(sockets)
                yield database_url(sockets)
