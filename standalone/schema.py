"""The schema of the database that a command is about to use."""

import asyncpg

from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate, migrations, schema_version
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError


async def check_schema(url: str) -> None:
    """Raise StartupError if the schema is older than this release needs. A newer one is fine."""
    needed = migrations()[-1].version
    try:
        async with Database.open(url, max_connections=1) as database:
            found = await schema_version(database)
    except ServiceError as error:
        raise StartupError(error.message) from error
    if found < needed:
        raise StartupError(
            f"the database has schema version {found}, but this release needs version {needed}. "
            "Run 'similis migrate' first"
        )


async def migrate_database(url: str) -> list[str]:
    """Apply the missing migrations and return their names. A newer schema is left as it is.

    A release that was rolled back finds a newer schema and can work with it, because a migration only adds to what the
    previous release reads. Raises StartupError when the database refuses or does not respond.
    """
    try:
        return await migrate(url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupError(f"cannot migrate the database: {error}") from error


async def migrate_data_directory(url: str) -> list[str]:
    """Apply the missing migrations to the database of a data directory and return their names.

    Raises StartupError when the schema is newer than this release, or when the database refuses or does not respond.
    """
    try:
        async with Database.open(url, max_connections=1) as database:
            found = await schema_version(database)
    except ServiceError as error:
        raise StartupError(error.message) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupError(f"cannot migrate the database: {error}") from error
    newest = migrations()[-1].version
    if found > newest:
        raise StartupError(
            f"the database was written by a newer version of Similis (schema version {found}; this release knows "
            f"{newest}). Install that version or a newer one"
        )
    return await migrate_database(url)
