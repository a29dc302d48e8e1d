"""JobListener between processes: heard again after whatever happened to the database."""

from urllib.parse import urlsplit

import pytest

from catalog.postgres import notifications
from catalog.postgres.database import Database
from catalog.postgres.notifications import JobListener, notify
from tests.eventually import eventually
from tests.integration.databases import administer, new_database

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Failures:
    """A log that counts errors."""

    def __init__(self) -> None:
        self.errors = 0

    def error(self, *_: object, **__: object) -> None:
        self.errors += 1

    def warning(self, *_: object, **__: object) -> None:
        """Of no interest."""


async def test_a_server_that_refuses_us_for_a_while_is_listened_to_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(notifications, "RETRY_SECONDS", 0.05)
    failures = Failures()
    monkeypatch.setattr(notifications, "log", failures)
    heard: list[bool] = []
    async with new_database(postgres_url) as url, Database.open(url) as database:
        name = urlsplit(url).path.lstrip("/")
        async with JobListener(database, lambda: heard.append(True)).running():
            await eventually(lambda: len(heard) == 1)
            await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
            await administer(url, ended)
            await eventually(lambda: failures.errors > 0)
            await administer(url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await eventually(lambda: len(heard) == 2)
            async with database.connection() as connection:
                await notify(connection)
            await eventually(lambda: len(heard) == 3)
