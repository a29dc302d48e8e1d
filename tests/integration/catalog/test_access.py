"""Databases that refuse us say which setting is wrong."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from catalog.postgres.database import Database
from catalog.vectors.base_store import BaseStores
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from servicekit.errors import ServiceError, Unavailable
from tests.integration.databases import administer, new_database, postgres_process
from tests.integration.keyed_qdrant import KEY, READ_ONLY_KEY, keyed_qdrant

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refusal(url: str) -> ServiceError | None:
    """Return the error of a database that does not let us in."""
    async with Database.open(url) as database:
        try:
            await database.ping()
        except ServiceError as error:
            return error
    return None


async def test_a_wrong_password_is_reported(postgres_url: str) -> None:
    async with new_database(postgres_url) as url:
        await administer(url, "DROP ROLE IF EXISTS guarded")
        await administer(url, "CREATE ROLE guarded LOGIN PASSWORD 'right'")
        rules = Path(postgres_process(url).cwd()) / "pg_hba.conf"
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        await administer(url, "SELECT pg_reload_conf()")
        parts = urlsplit(url)
        assert await refusal(parts._replace(netloc="guarded:right@").geturl()) is None
        # The server reads the rules again a moment later.
        for password in (":wrong", ""):
            while (error := await refusal(parts._replace(netloc=f"guarded{password}@").geturl())) is None:
                pass
            assert isinstance(error, Unavailable)
            assert error.code == "database_access_denied"
            assert "password in SIMILIS_DATABASE_URL" in error.message


@pytest.mark.parametrize(
    ("user", "database", "code", "words"),
    [
        ("stranger@", None, "database_access_denied", "user in SIMILIS_DATABASE_URL"),
        ("similis@", "/nothing", "database_missing", "SIMILIS_DATABASE_URL names does not exist"),
    ],
)
async def test_an_unknown_user_or_database_is_reported(
    postgres_url: str, user: str, database: str | None, code: str, words: str
) -> None:
    async with new_database(postgres_url) as url:
        parts = urlsplit(url)
        error = await refusal(parts._replace(netloc=user, path=database or parts.path).geturl())
    assert isinstance(error, Unavailable)
    assert error.code == code
    assert words in error.message


async def test_a_user_without_rights_on_the_tables_is_reported(postgres_url: str) -> None:
    async with new_database(postgres_url) as url:
        await administer(url, "DROP ROLE IF EXISTS reader")
        await administer(url, "CREATE ROLE reader LOGIN")
        async with Database.open(urlsplit(url)._replace(netloc="reader@").geturl()) as database:
            with pytest.raises(Unavailable) as error:
                async with database.connection() as connection:
                    await connection.execute("DELETE FROM collections")
    assert error.value.code == "database_access_denied"
    assert "lacks a privilege" in error.value.message


async def test_a_wrong_or_missing_key_for_qdrant_is_reported() -> None:
    async with keyed_qdrant() as target:
        for key in (None, "wrong"):
            async with open_qdrant(QdrantAddress(target, api_key=key)) as client:
                with pytest.raises(Unavailable) as error:
                    await Generations(client).ping()
            assert error.value.code == "qdrant_key_refused"
            assert "SIMILIS_QDRANT_API_KEY is missing or wrong" in error.value.message


async def test_a_read_only_key_is_enough_to_read() -> None:
    async with keyed_qdrant() as target, open_qdrant(QdrantAddress(target, api_key=READ_ONLY_KEY)) as client:
        await Generations(client).ping()
        with pytest.raises(Unavailable) as error:
            await BaseStores(client, "similis").of(1, "0" * 16).drop()
    assert error.value.code == "qdrant_key_refused"
    assert "lacks a permission" in error.value.message
    async with keyed_qdrant() as target, open_qdrant(QdrantAddress(target, api_key=KEY)) as client:
        await BaseStores(client, "similis").of(1, "0" * 16).drop()
