"""A database for each test, on one running Postgres."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil

_numbers = itertools.count(1)


@asynccontextmanager
async def new_database(url: str, *, migrated: bool = True) -> AsyncIterator[str]:
    """Create a database on the server of `url` while entered, and yield its URL.

    migrated: copy the database at `url`, to which nobody must be connected. Otherwise the new database is empty.
    """
    parts = urlsplit(url)
    name, template = f"test{next(_numbers)}", parts.path.lstrip("/") if migrated else "template1"
    # Without a checkpoint on the disk, to copy the files is the fastest way.
    await administer(url, f'CREATE DATABASE "{name}" OWNER similis TEMPLATE "{template}" STRATEGY FILE_COPY')
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        await administer(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def kill_postgres(url: str) -> psutil.Process:
    """Kill the server of `url` and return it. Its supervisor restarts it."""
    server = postgres_process(url)
    server.kill()
    return server


def postgres_process(url: str) -> psutil.Process:
    """Return the server of `url`, a child of this process, whose working directory is the cluster."""
    sockets = Path(parse_qs(urlsplit(url).query)["host"][0]).resolve()
    servers = [child for child in psutil.Process().children() if child.name() == "postgres"]
    ours = [server for server in servers if Path(server.cwd()) == sockets]
    assert len(ours) == 1, (sockets, [server.cwd() for server in servers])
    return ours[0]


async def administer(url: str, statement: str) -> None:
    """Run a statement as superuser on the server of `url`."""
    parts = urlsplit(url)
    admin = await asyncpg.connect(parts._replace(netloc="postgres@", path="/postgres").geturl())
    try:
        await admin.execute(statement)
    finally:
        await admin.close()
