"""The schema of a database that the command line is about to use."""

import asyncpg

from similis.catalog.database import Database
from similis.catalog.migrate import migrate, migrations, schema_version
from similis.servicekit.errors import ServiceError
from similis.servicekit.process import StartupError


async def bring_up_to_date(url: str) -> list[str]:
    """Applies what is missing and gives the names of it.

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
        return await migrate(url)
    except ServiceError as error:
        raise StartupError(error.message) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupError(f"cannot bring the database's schema up to date: {error}") from error
