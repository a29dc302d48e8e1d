"""`similis keys`: creates, imports, lists and deletes API keys."""

import getpass
import re
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from catalog.keys.api_keys import ApiKey, ApiKeys
from catalog.keys.permissions import EVERYTHING, EXPIRES_SOON, Permissions
from catalog.postgres.database import Database
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError
from servicekit.telemetry.audit import audit
from standalone.schema import check_schema
from standalone.table import print_table

MAX_NAME = 200


async def create_key(url: str, name: str, permissions: Permissions = EVERYTHING) -> None:
    """Create a key and print it. Its secret is never shown again. Raises StartupError, also for unknown collections."""
    _check_name(name)
    async with _keys(url) as keys:
        secret = await keys.create(name, permissions)
    audit(
        *("create_key", "done"),
        key_id=int(secret.partition(".")[0]),
        key_name=name,
        scope=permissions.scope,
        collections=None if permissions.collections is None else sorted(permissions.collections),
        expires_at=None if permissions.expires_at is None else permissions.expires_at.isoformat(),
        by=_user(),
    )
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
    if changed is not None:
        audit("import_key", "done", key_id=changed, key_name=name, by=_user())
    state = "was already valid" if changed is None else "is now valid"
    sys.stderr.write(f"similis: the key {name!r} {state}\n")


async def list_keys(url: str) -> None:
    """Print the keys that are not deleted, without their secrets. Raises StartupError."""
    async with _keys(url) as keys:
        found = await keys.list()
    rows = [
        (
            *(str(key.id), key.name, _format_time(key.created_at), _format_time(key.last_used_at)),
            *(key.permissions.scope, _format_collections(key.permissions.collections), _format_expiry(key)),
        )
        for key in found
    ]
    print_table(("ID", "NAME", "CREATED", "LAST USED", "SCOPE", "COLLECTIONS", "EXPIRES"), rows)


def parse_expiry(text: str) -> datetime:
    """Return the time that a number of days, a date (the end of that day, in UTC) or a time stands for.

    Raises ValueError, also for a time in the past.
    """
    now = datetime.now(UTC)
    if days := re.fullmatch(r"([1-9][0-9]{0,4})d", text, re.ASCII):
        return now + timedelta(days=int(days[1]))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        problem = "is neither a number of days (90d) nor a date (2030-12-31) nor a time (2030-12-31T18:00Z)"
        raise ValueError(f"{text!r} {problem}") from None
    if re.fullmatch(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}", text, re.ASCII):
        found += timedelta(days=1)
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if found <= now:
        raise ValueError(f"{text!r} is in the past")
    return found


async def delete_key(url: str, key_id: int) -> None:
    """Delete a key, which stops working at once. Raises StartupError, also when there is no such key."""
    async with _keys(url) as keys:
        if (name := await keys.revoke(key_id)) is None:
            raise StartupError(f"there is no key {key_id}. 'similis keys list' shows the valid keys")
    audit("delete_key", "done", key_id=key_id, key_name=name, by=_user())
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


def _user() -> str | None:
    """Return the user of this machine who runs the command; None if the user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _format_collections(collections: Collection[int] | None) -> str:
    return "all" if collections is None else ",".join(map(str, sorted(collections)))


def _format_expiry(key: ApiKey) -> str:
    time = key.permissions.expires_at
    if time is None or key.expired:
        return "never" if time is None else f"{_format_time(time)} (expired)"
    soon = time - datetime.now(UTC) <= EXPIRES_SOON
    return f"{_format_time(time)} (soon)" if soon else _format_time(time)


def _format_time(time: datetime | None) -> str:
    return "never" if time is None else time.isoformat(sep=" ", timespec="seconds")
