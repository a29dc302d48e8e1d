"""The schema of a database that a command is about to use."""

import asyncpg

from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate, migrations, schema_version
from servicekit.errors import ServiceError
from servicekit.process.service import StartupError


async def check_schema(url: str) -> None:
    """Raises StartupError when the database has not the schema that this release reads; a newer one has it."""
    wanted = migrations()[-1].version
    try:
        async with Database.open(url, max_connections=1) as database:
            found = await schema_version(database)
    except ServiceError as error:
        raise StartupError(error.message) from error
    if found < wanted:
        raise StartupError(f"the database has schema {found}, {wanted} is needed: run 'similis migrate' first")


async def migrated(url: str) -> list[str]:
    """Applies what is missing and gives the names of it; nothing is missing in a schema that is newer.

    That is what a release which was rolled back finds, and can serve: a migration only adds to what the release before
    it reads. Raises StartupError when the database refuses or does not answer.
    """
    try:
        return await migrate(url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupError(f"cannot bring the database's schema up to date: {error}") from error


async def bring_up_to_date(url: str) -> list[str]:
    """Applies what is missing and gives the names of it, for a data directory of ours.

    Raises StartupError when the schema is newer than this release, or when the database refuses or does not answer.
    """
    try:
        async with Database.open(url, max_connections=1) as database:
            found = await schema_version(database)
        newest = migrations()[-1].version
        if found > newest:
            raise StartupError(
                f"the database was written by a newer version of Similis (schema {found}, this one knows {newest})"
            )
    except ServiceError as error:
        raise StartupError(error.message) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupError(f"cannot bring the database's schema up to date: {error}") from error
    return await migrated(url)
