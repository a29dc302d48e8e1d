"""The schema: concurrent migrations apply each file once, and services wait for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from catalog.postgres import migrate as migrate_module
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate, migrations, schema_version, wait_for_schema
from servicekit.errors import ServiceError
from tests.eventually import eventually
from tests.integration.databases import administer, new_database

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [f"{migration.version:04}_{migration.name}" for migration in migrations()]


async def test_concurrent_migrations_apply_each_file_once(postgres_url: str) -> None:
    async with new_database(postgres_url, migrated=False) as url:
        applied = await asyncio.gather(*(migrate(url) for _ in range(5)))
        assert sorted(applied, key=len) == [[]] * 4 + [NAMES]
        assert await migrate(url) == []
        async with Database.open(url) as database:
            assert await schema_version(database) == len(NAMES)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each check of `wait_for_schema` found: a version or the code of an error. They follow each other closely."""
    found: list[str] = []

    async def checked(database: Database) -> int:
        try:
            version = await schema_version(database)
        except ServiceError as error:
            found.append(error.code)
            raise
        found.append(str(version))
        return version

    monkeypatch.setattr(migrate_module, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(migrate_module, "schema_version", checked)
    return found


@asynccontextmanager
async def waiting(database: Database, checks: list[str]) -> AsyncIterator[asyncio.Task[None]]:
    """Wait for the schema, entered after several checks have failed."""
    task = asyncio.create_task(wait_for_schema(database))
    try:
        await eventually(lambda: len(checks) >= 3 or task.done())
        assert not task.done()
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_services_wait_for_the_schema(postgres_url: str, checks: list[str]) -> None:
    async with new_database(postgres_url, migrated=False) as url, Database.open(url) as database:
        assert await schema_version(database) == 0
        async with waiting(database, checks) as task:
            await migrate(url)
            async with asyncio.timeout(30):
                await task


async def test_services_wait_for_an_unreachable_server(checks: list[str]) -> None:
    async with Database.open("postgresql://nobody@127.0.0.1:1/none") as database, waiting(database, checks):
        assert set(checks) == {"database_unavailable"}


async def test_services_wait_for_a_database_that_does_not_exist_yet(postgres_url: str, checks: list[str]) -> None:
    async with (
        new_database(postgres_url) as url,
        Database.open(urlsplit(url)._replace(path="/later").geturl()) as database,
        waiting(database, checks),
    ):
        assert set(checks) == {"database_missing"}


async def test_services_wait_for_a_server_that_refuses_connections(postgres_url: str, checks: list[str]) -> None:
    async with new_database(postgres_url, migrated=False) as url, Database.open(url) as database:
        name = urlsplit(url).path.lstrip("/")
        await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        async with waiting(database, checks) as task:
            await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await migrate(url)
            async with asyncio.timeout(30):
                await task


async def test_a_newer_schema_is_accepted_and_left_alone(postgres_url: str) -> None:
    async with new_database(postgres_url) as url, Database.open(url) as database:
        async with database.connection() as connection:
            await connection.execute("INSERT INTO schema_migrations VALUES (9999, 'from_a_later_release')")
        assert await migrate(url) == []
        async with asyncio.timeout(30):
            await wait_for_schema(database)
        assert await schema_version(database) == 9999


async def test_a_failed_migration_leaves_nothing(postgres_url: str) -> None:
    async with new_database(postgres_url, migrated=False) as url, Database.open(url) as database:
        async with database.connection() as connection:
            await connection.execute("CREATE TABLE api_keys (unexpected int)")
        with pytest.raises(Exception, match="api_keys"):
            await migrate(url)
        assert await schema_version(database) == 0
        async with database.connection() as connection:
            await connection.execute("DROP TABLE api_keys")
            assert not await connection.fetchval("SELECT to_regclass('collections') IS NOT NULL")
        assert await migrate(url) == NAMES
