"""Trainers hear of a change in the job queue at once, and listen again after the database was away."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import pytest

from catalog.postgres import notifications
from catalog.postgres.database import Database
from catalog.postgres.notifications import JobListener, notify
from servicekit.errors import ServiceError
from tests.eventually import eventually
from tests.integration.databases import administer, new_database
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

URLS = ["https://example.org/1.jpg"]


@asynccontextmanager
async def listening(database: Database) -> AsyncIterator[list[bool]]:
    """Listen like an idle trainer. The list grows by one with each notification."""
    heard: list[bool] = []
    async with JobListener(database, lambda: heard.append(True)).running():
        # The listener reports once when it has connected.
        await eventually(lambda: len(heard) == 1)
        heard.clear()
        yield heard


async def test_two_idle_trainers_hear_of_a_job_at_once(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    async with AsyncExitStack() as stack:
        trainers = [await stack.enter_async_context(listening(workplace.database)) for _ in range(2)]
        await workplace.finetune(collection)
        # Nothing but a notification can be heard here: listeners do not poll.
        await eventually(lambda: [len(heard) for heard in trainers] == [1, 1])


async def test_idle_trainers_hear_of_a_released_job_and_of_a_deletion(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    await workplace.finetune(collection)
    job = await workplace.jobs.claim("worker")
    assert job is not None
    async with listening(workplace.database) as heard:
        await workplace.jobs.release(job)
        await eventually(lambda: len(heard) == 1)
        await workplace.collections.mark_deleting(collection)
        await eventually(lambda: len(heard) == 2)


async def test_a_listener_survives_a_server_that_refuses_connections_for_a_while(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(notifications, "RETRY_SECONDS", 0.05)
    listen = JobListener._listen
    failures: list[str] = []

    async def observed(listener: JobListener) -> None:
        try:
            await listen(listener)
        except ServiceError as error:
            failures.append(error.code)
            raise

    monkeypatch.setattr(JobListener, "_listen", observed)
    async with new_database(postgres_url) as url, Database.open(url) as database, listening(database) as heard:
        name = urlsplit(url).path.lstrip("/")
        await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        terminate = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
        await administer(url, terminate)
        # The first is the end of the connection, the others are refusals.
        await eventually(lambda: len(failures) > 1)
        await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await eventually(lambda: len(heard) == 1)
        async with database.connection() as connection:
            await notify(connection)
        await eventually(lambda: len(heard) == 2)
