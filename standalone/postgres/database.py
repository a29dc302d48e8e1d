"""The database of an instance, for as long as a command needs it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from standalone.instance.data_directory import DataDirectory, find_data_directory, is_in_use, open_data_directory
from standalone.instance.run_directory import check_private, run_directory, run_directory_of
from standalone.postgres.damage import DamagedDatabase, damage_reported
from standalone.postgres.server import database_url, ensure_database, postgres_spec, prepare_cluster
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import supervised


@asynccontextmanager
async def instance_database(root: Path) -> AsyncIterator[str]:
    """Yield the URL of the database of the instance in `root`. Start the database if the instance does not run.

    Raises StartupError when there is no instance, when it is just starting, or when the database cannot be started.
    """
    data = find_data_directory(root)
    if is_in_use(data):
        sockets = run_directory_of(data)
        check_private(sockets, data)
        yield database_url(sockets)
        return
    sys.stderr.write("similis: the instance is not running, so its database is started for this command\n")
    # No minimum of free space: a full disk is no reason not to delete a key.
    async with open_data_directory(root, min_free_bytes=0) as data, running_database(data) as url:
        yield url


@asynccontextmanager
async def running_database(data: DataDirectory) -> AsyncIterator[str]:
    """Run Postgres on an open data directory and yield the URL of our database. Raises StartupError."""
    output = ChildLog("postgres", data.logs)
    stop_now = asyncio.Event()
    with run_directory(data) as sockets:
        await prepare_cluster(data, output)
        async with supervised(postgres_spec(data, sockets), output, stop_now) as postgres:
            try:
                await postgres.wait_ready()
                with damage_reported(data, starting=True):
                    await ensure_database(sockets)
                with damage_reported(data):
                    yield database_url(sockets)
            except DamagedDatabase:
                # It may not stop by itself.
                stop_now.set()
                raise
