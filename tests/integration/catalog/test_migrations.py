"""The schema: brought up once, however many try, and waited for."""

import asyncio
from urllib.parse import urlsplit

import pytest

from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate, migrations, schema_version, wait_for_schema
from tests.integration.databases import administer, new_database

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [f"{migration.version:04}_{migration.name}" for migration in migrations()]


async def test_many_migrations_at_once_apply_each_file_once(postgres_url: str) -> None:
    async with new_database(postgres_url, migrated=False) as url:
        applied = await asyncio.gather(*(migrate(url) for _ in range(5)))
        assert sorted(applied, key=len) == [[]] * 4 + [NAMES]
        assert await migrate(url) == []
        async with Database.open(url) as database:
            assert await schema_version(database) == len(NAMES)


async def test_services_wait_for_the_schema(postgres_url: str) -> None:
    async with new_database(postgres_url, migrated=False) as url, Database.open(url) as database:
        assert await schema_version(database) == 0
        waiting = asyncio.create_task(wait_for_schema(database))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        await migrate(url)
        async with asyncio.timeout(30):
            await waiting


async def test_services_wait_for_a_database_that_is_not_there() -> None:
    async with Database.open("postgresql://nobody@127.0.0.1:1/none") as database:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await wait_for_schema(database)


async def test_services_wait_for_a_database_that_its_server_has_not_yet(postgres_url: str) -> None:
    async with new_database(postgres_url) as url, Database.open(url + "_later") as database:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await wait_for_schema(database)


async def test_services_wait_for_a_server_that_refuses_them(postgres_url: str) -> None:
    async with new_database(postgres_url, migrated=False) as url, Database.open(url) as database:
        name = urlsplit(url).path.lstrip("/")
        await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        waiting = asyncio.create_task(wait_for_schema(database))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await migrate(url)
        async with asyncio.timeout(20):
            await waiting


async def test_a_schema_that_is_newer_is_served_and_left_as_it_is(postgres_url: str) -> None:
    async with new_database(postgres_url) as url, Database.open(url) as database:
        async with database.connection() as connection:
            await connection.execute("INSERT INTO schema_migrations VALUES (9999, 'of_a_later_release')")
        assert await migrate(url) == []
        async with asyncio.timeout(30):
            await wait_for_schema(database)
        assert await schema_version(database) == 9999


async def test_a_migration_that_fails_leaves_nothing(postgres_url: str) -> None:
    async with new_database(postgres_url, migrated=False) as url, Database.open(url) as database:
        async with database.connection() as connection:
            await connection.execute("CREATE TABLE api_keys (in_the_way int)")
        with pytest.raises(Exception, match="api_keys"):
            await migrate(url)
        assert await schema_version(database) == 0
        async with database.connection() as connection:
            await connection.execute("DROP TABLE api_keys")
            assert not await connection.fetchval("SELECT to_regclass('collections') IS NOT NULL")
        assert await migrate(url) == NAMES
