"""`similis keys`: creates, imports, lists and deletes API keys."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from catalog.api_keys import ApiKeys
from catalog.postgres.database import Database
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from standalone.schema import check_schema

MAX_NAME = 200


async def create_key(url: str, name: str) -> None:
    """Create a key and print it. Its secret is never shown again. Raises StartupError."""
    _check_name(name)
    async with _keys(url) as keys:
        secret = await keys.create(name)
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()
    sys.stderr.write("similis: save this key now; it will not be shown again\n")


async def ensure_key(url: str, name: str, secret_file: Path) -> None:
    """Make the key in a file the only valid key of this name. Raises StartupError, also for a weak key.

    The file holds the key as clients send it: 32 to 200 random characters.
    """
    _check_name(name)
    key = _read_key(secret_file)
    async with _keys(url) as keys:
        changed = await keys.ensure(name, key)
    sys.stderr.write(f"similis: the key {name!r} {'is now valid' if changed else 'was already valid'}\n")


async def list_keys(url: str) -> None:
    """Print the valid keys, without their secrets. Raises StartupError."""
    async with _keys(url) as keys:
        found = await keys.list()
    rows = [("ID", "NAME", "CREATED", "LAST USED")]
    rows += [(str(key.id), key.name, _format_time(key.created_at), _format_time(key.last_used_at)) for key in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


async def delete_key(url: str, key_id: int) -> None:
    """Delete a key, which stops working at once. Raises StartupError, also when there is no such key."""
    async with _keys(url) as keys:
        if not await keys.revoke(key_id):
            raise StartupError(f"there is no key {key_id}. 'similis keys list' shows the valid keys")
    sys.stderr.write(f"similis: deleted key {key_id}\n")


@asynccontextmanager
async def _keys(url: str) -> AsyncIterator[ApiKeys]:
    await check_schema(url)
    try:
        async with Database.open(url, max_connections=1) as database:
            yield ApiKeys(database)
    except ServiceError as error:
        raise StartupError(error.message) from error


def _read_key(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise StartupError(f"cannot read the key file {file}: {reason}") from error


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise StartupError(f"the name of a key must have 1 to {MAX_NAME} printable characters")


def _format_time(time: datetime | None) -> str:
    return "never" if time is None else time.isoformat(sep=" ", timespec="seconds")
