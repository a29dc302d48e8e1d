"""A database that goes down is reported as unavailable and used again when it is back."""

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

DOWN = (Unavailable, DeadlineExceeded)


@pytest_asyncio.fixture(loop_scope="session")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with new_database(postgres_url) as url, Database.open(url, max_connections=4) as database:
        yield database


async def recovered(database: Database) -> None:
    """Wait until the database answers. Only errors that report it as down are allowed until then."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await database.ping()
            except DOWN:
                await asyncio.sleep(0.02)


async def test_killing_postgres_fails_running_statements_as_unavailable(
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
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, DOWN)] == []
    await recovered(database)
    assert await workplace.collections.names() == [(kept, "kept")]
    await asyncio.gather(*(database.ping() for _ in range(8)))


async def test_requests_during_a_postgres_restart_fail_with_service_errors(workplace: Workplace) -> None:
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
    assert {type(error) for error in failures} <= set(DOWN)


async def _active(url: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)'"
        )
    finally:
        await connection.close()


async def test_a_connection_with_an_abandoned_statement_is_not_reused(database: Database) -> None:
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
async def test_a_broken_connection_does_not_hide_the_original_error(
    database: Database,
    inside: Callable[[Database], AbstractAsyncContextManager[Connection]],
    error: type[BaseException],
) -> None:
    async def leave() -> None:
        async with inside(database) as connection:
            own = await connection.fetchval("SELECT pg_backend_pid()")
            async with database.connection() as other:
                await other.execute("SELECT pg_terminate_backend($1)", own)
            with pytest.raises(Exception):  # noqa: B017, PT011 (asyncpg has three errors for this, with no common base)
                await connection.execute("SELECT 1")
            raise error

    with pytest.raises(error):
        await leave()
    await asyncio.gather(*(database.ping() for _ in range(8)))


async def test_a_service_error_rolls_back_and_keeps_the_connection(
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


async def test_a_connection_to_a_server_that_became_a_standby_is_dropped(
    database: Database,
) -> None:
    servers = []

    async def insert() -> None:
        async with database.transaction() as connection:
            servers.append(await connection.fetchval("SELECT pg_backend_pid()"))
            # On a standby all transactions are read-only.
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
    acquired = False
    async with asyncio.timeout(10):
        while not acquired:
            async with try_lock(database, 77) as acquired:
                pass


async def test_a_session_that_was_changed_is_reset_before_it_is_used_again(database: Database) -> None:
    async with database.session() as connection:
        await connection.execute("SET work_mem = '99MB'")
        process = connection.get_server_pid()
    async with database.connection() as connection:
        assert connection.get_server_pid() == process
        assert await connection.fetchval("SHOW work_mem") != "99MB"


async def test_a_session_that_failed_is_not_used_again(database: Database) -> None:
    processes = []

    async def fail() -> None:
        async with database.session() as connection:
            processes.append(connection.get_server_pid())
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await fail()
    async with database.connection() as connection:
        assert connection.get_server_pid() not in processes


async def test_an_unreachable_server_is_unavailable() -> None:
    for url in ("postgresql://nobody@127.0.0.1:1/none", "postgresql://nobody@/none?host=/nowhere"):
        async with Database.open(url) as database:
            with pytest.raises(Unavailable):
                await database.ping()
