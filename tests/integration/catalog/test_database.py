"""A database that goes away is said to be away, and is used again when it is back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import asyncpg
import pytest
import pytest_asyncio

from catalog.postgres.advisory_lock import try_lock
from catalog.postgres.database import Connection, Database
from servicekit.errors import DeadlineExceeded, InvalidRequest, ServiceError, Unavailable
from servicekit.request_context import request_scope
from tests.integration.databases import kill_postgres, new_database
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

AWAY = (Unavailable, DeadlineExceeded)


@pytest_asyncio.fixture(loop_scope="session")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with new_database(postgres_url) as url, Database.open(url, max_connections=4) as database:
        yield database


async def back(database: Database) -> None:
    """Returns when the database answers; nothing but what says that it is away may be raised until then."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await database.ping()
            except AWAY:
                await asyncio.sleep(0.02)


async def test_a_postgres_that_is_killed_in_the_middle_of_statements_is_unavailable_and_recovers(
    workplace: Workplace,
) -> None:
    database = workplace.database

    async def sleep() -> None:
        async with database.connection() as connection:
            await connection.execute("SELECT pg_sleep(60)")

    async def insert() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO collections (name) VALUES ('lost')")
            await connection.execute("SELECT pg_sleep(60)")

    kept = await workplace.collections.create("kept")
    working = [asyncio.create_task(work()) for work in (sleep, insert, insert, sleep)]
    while len(await _active(workplace.database_url)) < len(working):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    kill_postgres(workplace.database_url)
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*working, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, AWAY)] == []
    await back(database)
    assert await workplace.collections.names() == [(kept, "kept")]
    await asyncio.gather(*(database.ping() for _ in range(8)))


async def test_requests_while_postgres_is_away_fail_with_what_a_caller_can_be_told(workplace: Workplace) -> None:
    collection = await workplace.collections.create("coins")
    kill_postgres(workplace.database_url)
    failures: list[ServiceError] = []
    async with asyncio.timeout(60):
        while True:
            try:
                await workplace.collections.get(collection)
            except ServiceError as error:
                failures.append(error)
                await asyncio.sleep(0.01)
            else:
                if failures:
                    break
    assert {type(error) for error in failures} <= set(AWAY)


async def _active(url: str) -> list[object]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)'"
        )
    finally:
        await connection.close()


async def test_a_connection_that_a_caller_left_in_the_middle_is_not_used_again(database: Database) -> None:
    for _ in range(8):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), database.connection() as connection:
                await connection.execute("SELECT pg_sleep(60)")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_request_without_time_left_does_not_wait_for_a_connection(database: Database) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(database.connection())
        async with asyncio.timeout(5):
            with request_scope("request", 0.1), pytest.raises(DeadlineExceeded):
                await database.ping()
    with request_scope("request", 0.0), pytest.raises(DeadlineExceeded):
        await database.ping()


@pytest.mark.parametrize("error", [asyncio.CancelledError, RuntimeError])
@pytest.mark.parametrize("inside", [Database.connection, Database.transaction])
async def test_a_connection_that_breaks_does_not_hide_why_its_user_leaves(
    database: Database,
    inside: Callable[[Database], AbstractAsyncContextManager[Connection]],
    error: type[BaseException],
) -> None:
    async def leave() -> None:
        async with inside(database) as connection:
            own = await connection.fetchval("SELECT pg_backend_pid()")
            async with database.connection() as other:
                await other.execute("SELECT pg_terminate_backend($1)", own)
            with pytest.raises(Exception):  # noqa: B017, PT011 (asyncpg says it in three ways, with none in common)
                await connection.execute("SELECT 1")
            raise error

    with pytest.raises(error):
        await leave()
    await asyncio.gather(*(database.ping() for _ in range(8)))


async def test_an_error_of_the_tree_leaves_the_connection_usable_and_the_transaction_undone(
    database: Database,
) -> None:
    async def refuse() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO collections (name) VALUES ('undone')")
            raise InvalidRequest("No.")

    with pytest.raises(InvalidRequest):
        await refuse()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM collections") == 0


async def test_a_server_that_became_a_standby_is_unavailable_and_its_connection_is_not_used_again(
    database: Database,
) -> None:
    servers = []

    async def insert() -> None:
        async with database.transaction() as connection:
            servers.append(await connection.fetchval("SELECT pg_backend_pid()"))
            # As all transactions of a standby are.
            await connection.execute("SET TRANSACTION READ ONLY")
            await connection.execute("INSERT INTO collections (name) VALUES ('coins')")

    with pytest.raises(Unavailable):
        await insert()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") not in servers


async def test_an_advisory_lock_has_one_holder_and_ends_with_its_connection(database: Database) -> None:
    async with try_lock(database, 77) as first, try_lock(database, 77) as second, try_lock(database, 78) as other:
        assert (first, second, other) == (True, False, True)
    async with try_lock(database, 77) as again:
        assert again
    with pytest.raises(RuntimeError):
        async with try_lock(database, 77):
            raise RuntimeError("a holder that fails")
    got = False
    async with asyncio.timeout(10):
        while not got:
            async with try_lock(database, 77) as got:
                pass


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    for url in ("postgresql://nobody@127.0.0.1:1/none", "postgresql://nobody@/none?host=/nowhere"):
        async with Database.open(url) as database:
            with pytest.raises(Unavailable):
                await database.ping()
