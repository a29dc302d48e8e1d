"""The database of a backup: a snapshot to write, and an empty database to fill."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from catalog.postgres.database import long_session
from catalog.postgres.migrate import ADVISORY_LOCK, apply_migrations
from catalog.postgres.table_files import read_tables, table_names, write_tables
from servicekit.process.service import StartupError

Connection = asyncpg.Connection

LOCK_SECONDS = 60.0
RETRY_SECONDS = 0.5
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"

SCHEMA = "SELECT max(version) FROM schema_migrations"
# The points that the live indexes have: images with equal vectors share one.
LIVE = """
SELECT i.qdrant_collection AS name,
       coalesce(i.image_count, 0) - (SELECT count(*) FROM equal_images e WHERE e.index_id = i.id) AS points
FROM collections c JOIN indexes i ON i.id = c.live_index
WHERE c.deleting_at IS NULL AND i.lost_at IS NULL
"""
# The collections, with the greatest id of an image that the snapshot knows. Ids are given out later to other images.
COLLECTIONS = """
SELECT c.id, (SELECT coalesce(max(id), 0) FROM images m WHERE m.collection_id = c.id) AS last_image,
       coalesce(t.row_count, 0) AS images
FROM collections c LEFT JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
WHERE c.deleting_at IS NULL
"""
TARGET = """
SELECT current_schema() AS schema, current_database() AS database, current_user AS user,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create
"""


@dataclass(frozen=True)
class Snapshot:
    """The catalog at one moment.

    live: the number of points, at least, of each live index, by its Qdrant collection. last_images: the greatest id of
    an image, by collection.
    """

    schema: int
    live: dict[str, int]
    last_images: dict[int, int]
    images: int


async def write_snapshot(connection: Connection, folder: Path) -> Snapshot:
    """Write the database as it is at this moment to a folder."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await connection.fetch(COLLECTIONS)
        snapshot = Snapshot(
            schema=await connection.fetchval(SCHEMA),
            live=await live_points(connection),
            last_images={row["id"]: row["last_image"] for row in rows},
            images=sum(row["images"] for row in rows),
        )
        await write_tables(connection, folder)
    return snapshot


async def live_points(connection: Connection) -> dict[str, int]:
    """Return how many points each live index has, at least, by its Qdrant collection."""
    return {row["name"]: row["points"] for row in await connection.fetch(LIVE)}


async def check_empty(connection: Connection) -> None:
    """Raise StartupError unless the database has no tables and takes new ones."""
    (target,) = await connection.fetch(TARGET)
    where = f"the database {target['database']}"
    if target["schema"] is None:
        raise StartupError(f"{where} has no schema to restore into. Create one: CREATE SCHEMA public")
    if tables := await table_names(connection):
        raise StartupError(
            f"{where} is not empty: its schema {target['schema']} has the table {tables[0]}. Restore into an empty "
            "database"
        )
    if not target["may_create"]:
        raise StartupError(
            f"the user {target['user']} may not create tables in the schema {target['schema']} of {where}. It must own "
            "the database"
        )


async def fill(connection: Connection, folder: Path, schema: int) -> list[str]:
    """Fill an empty database from a folder, in the caller's transaction, and bring the schema up to date.

    schema: the version that the files have. Returns the names of tables that are not ours and are left out.
    """
    await apply_migrations(connection, last=schema)
    left_out = await read_tables(connection, folder)
    await apply_migrations(connection)
    return left_out


@asynccontextmanager
async def locked_session(url: str, *locks: int) -> AsyncIterator[Connection]:
    """Yield a connection that holds these advisory locks.

    Raises StartupError if they are not free within a minute, and asyncpg's errors at the end if they were lost.
    """
    async with long_session(url) as connection:
        deadline = asyncio.get_running_loop().time() + LOCK_SECONDS
        for lock in locks:
            while not await connection.fetchval(TRY_LOCK, lock):
                if asyncio.get_running_loop().time() > deadline:
                    raise StartupError(_held(lock))
                await asyncio.sleep(RETRY_SECONDS)
        yield connection
        await connection.execute("SELECT pg_advisory_unlock_all()")


def _held(lock: int) -> str:
    if lock == ADVISORY_LOCK:
        return "a migration, a backup or a restore has been running on this database for a minute. Try again later"
    return "the trainer's janitor, or another backup, has been running for a minute. Try again later"
