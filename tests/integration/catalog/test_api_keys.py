"""API keys: shown once, compared as digests, revoked at once."""

import pytest

from similis.catalog.api_keys import ApiKeys
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_is_valid_until_it_is_revoked(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    key, other = await keys.create("import"), await keys.create("import")
    assert key != other
    assert await keys.valid(key)
    first, second = await keys.list()
    assert (first.name, second.name) == ("import", "import")
    assert (first.last_used_at is not None, second.last_used_at) == (True, None)
    assert await keys.revoke(first.id)
    assert not await keys.revoke(first.id)
    assert not await keys.valid(key)
    assert await keys.valid(other)
    assert [found.id for found in await keys.list()] == [second.id]


async def test_a_key_that_is_not_quite_one_is_refused(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    key = await keys.create("import")
    identifier, secret = key.split(".", 1)
    wrong = [
        None,
        "",
        ".",
        identifier,
        f"{identifier}.",
        f".{secret}",
        f"{identifier}.{secret}x",
        f"{identifier}.{secret[:-1]}",
        f"{int(identifier) + 1}.{secret}",
        f"0.{secret}",
        f"-{identifier}.{secret}",
        f"{identifier}.{secret}\n",
        f" {key}",
        f"١.{secret}",
        f"{'9' * 30}.{secret}",
        f"{identifier}.{'x' * 5000}",
        f"{identifier}.\udcff",
        f"{identifier}.\0",
    ]
    assert [given for given in wrong if await keys.valid(given)] == []
    assert await keys.valid(key)


async def test_the_secret_is_nowhere_in_the_database(workplace: Workplace) -> None:
    key = await ApiKeys(workplace.database).create("import")
    secret = key.split(".", 1)[1]
    stored = await workplace.rows("SELECT * FROM api_keys")
    assert secret not in repr(stored)
    assert secret.encode() not in b"".join(value for row in stored for value in row if isinstance(value, bytes))
