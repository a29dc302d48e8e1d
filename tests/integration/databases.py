"""Databases of a test's own on one running Postgres."""

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
    """A new database beside the one at `url`, removed in the end; gives its URL.

    migrated: it is a copy of that database (to which nobody is connected), else it is empty.
    """
    parts = urlsplit(url)
    name, template = f"test{next(_numbers)}", parts.path.lstrip("/") if migrated else "template1"
    await administer(url, f'CREATE DATABASE "{name}" OWNER similis TEMPLATE "{template}"')
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        await administer(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def kill_postgres(url: str) -> psutil.Process:
    """Kills the server, a child of this process, that serves the database at `url`; its supervisor starts it again."""
    sockets = Path(parse_qs(urlsplit(url).query)["host"][0]).resolve()
    servers = [child for child in psutil.Process().children() if child.name() == "postgres"]
    ours = [server for server in servers if Path(server.cwd()) == sockets]
    assert len(ours) == 1, (sockets, [server.cwd() for server in servers])
    ours[0].kill()
    return ours[0]


async def administer(url: str, statement: str) -> None:
    """Has the superuser run a statement on the server of `url`."""
    parts = urlsplit(url)
    admin = await asyncpg.connect(parts._replace(netloc="postgres@", path="/postgres").geturl())
    try:
        await admin.execute(statement)
    finally:
        await admin.close()
