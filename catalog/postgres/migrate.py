"""The database schema: only `similis migrate` changes it, and the services wait for it."""

import asyncio
import re
from dataclasses import dataclass
from importlib import resources

import asyncpg

from catalog.postgres.database import Database
from servicekit.errors import Unavailable
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

# An arbitrary number that nothing else uses on this database. It lets only one migration run at a time.
ADVISORY_LOCK = 7_367_105_519
WAIT_SECONDS = 1.0

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    int         PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return the migrations of this release in order. Raises ValueError when their numbers have a gap."""
    found = []
    for entry in resources.files("catalog.postgres").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("the migrations must be numbered from 1 without a gap")
    return found


async def migrate(dsn: str) -> list[str]:
    """Bring the schema up to this release, and return the names of the migrations that were applied.

    Each migration is one transaction. A schema that is newer than this release is left alone. Raises
    asyncpg.PostgresError or OSError when the database refuses.
    """
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        return await apply_migrations(connection)
    finally:
        await connection.close()


async def apply_migrations(connection: "asyncpg.Connection[asyncpg.Record]", *, last: int | None = None) -> list[str]:
    """Apply the migrations that are missing, up to number `last`, and return their names.

    The caller holds ADVISORY_LOCK. Raises asyncpg.PostgresError when the database refuses.
    """
    await connection.execute(CREATE_TABLE)
    current = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_migrations")
    pending = [migration for migration in migrations() if current < migration.version <= (last or migration.version)]
    for migration in pending:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", migration.version, migration.name
            )
        log.info("migration_applied", version=migration.version, name=migration.name)
    return [f"{migration.version:04}_{migration.name}" for migration in pending]


async def schema_version(database: Database) -> int:
    """Return the schema version of a database; 0 for an empty one. Raises as `Database.connection` does."""
    async with database.connection() as connection:
        if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
            return 0
        version: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_migrations")
        return version


async def wait_for_schema(database: Database) -> None:
    """Wait until the schema is at least as new as this release needs, however long it takes.

    No error ends the wait. The database or its role may not exist yet, or a password may just be changing.
    """
    required = migrations()[-1].version
    state = StateLog(log, "schema_wait")
    while True:
        try:
            version = await schema_version(database)
            if version >= required:
                return
            message = f"The schema has version {version}, this release needs {required}."
            state.failure(Unavailable(message, code="schema_missing"))
        except Exception as error:
            state.failure(error)
        await asyncio.sleep(WAIT_SECONDS)
