"""`similis keys`: makes, lists and deletes API keys."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from similis.catalog.api_keys import ApiKeys
from similis.catalog.database import Database
from similis.servicekit.errors import ServiceError
from similis.servicekit.process import StartupError
from similis.standalone.schema import bring_up_to_date

MAX_NAME = 200


async def create_key(url: str, name: str) -> None:
    """Makes a key and prints it: the only time that its secret is seen. Raises StartupError."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise StartupError(f"a key's name has 1 to {MAX_NAME} printable characters")
    async with _keys(url) as keys:
        secret = await keys.create(name)
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()
    sys.stderr.write("similis: keep this key, it is not shown again\n")


async def list_keys(url: str) -> None:
    """Prints the keys that are valid, without their secrets. Raises StartupError."""
    async with _keys(url) as keys:
        found = await keys.list()
    rows = [("ID", "NAME", "CREATED", "LAST USED")]
    rows += [(str(key.id), key.name, _when(key.created_at), _when(key.last_used_at)) for key in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


async def delete_key(url: str, key_id: int) -> None:
    """Makes a key invalid at once. Raises StartupError, also when there is no such key."""
    async with _keys(url) as keys:
        if not await keys.revoke(key_id):
            raise StartupError(f"there is no key {key_id}")
    sys.stderr.write(f"similis: key {key_id} is deleted\n")


@asynccontextmanager
async def _keys(url: str) -> AsyncIterator[ApiKeys]:
    await bring_up_to_date(url)
    try:
        async with Database.open(url, max_connections=1) as database:
            yield ApiKeys(database)
    except ServiceError as error:
        raise StartupError(error.message) from error


def _when(time: datetime | None) -> str:
    return "never" if time is None else time.isoformat(sep=" ", timespec="seconds")
