"""API keys: shown once, compared as digests, revoked at once."""

import asyncio
import secrets

import pytest

from catalog.api_keys import ApiKeys, WeakKey
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_is_valid_until_it_is_revoked(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    key, other = await keys.create("import"), await keys.create("import")
    assert key != other
    assert await keys.is_valid(key)
    first, second = await keys.list()
    assert (first.name, second.name) == ("import", "import")
    assert (first.last_used_at is not None, second.last_used_at) == (True, None)
    assert await keys.revoke(first.id)
    assert not await keys.revoke(first.id)
    assert not await keys.is_valid(key)
    assert await keys.is_valid(other)
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
    assert [given for given in wrong if await keys.is_valid(given)] == []
    assert await keys.is_valid(key)


GIVEN = "0f8e4c2b9a7d6351e0f4a8b2c6d9173f5a2e8b4c0d6f9173"
OTHER = "Zk3vXq9LmT2bWn8RcY5hJd7GfP4sKe6U"


async def test_a_key_that_was_given_is_valid_and_giving_it_again_changes_nothing(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    assert not await keys.is_valid(GIVEN)
    assert await keys.ensure("operator", GIVEN)
    assert not await keys.ensure("operator", GIVEN)
    assert await keys.is_valid(GIVEN)
    assert not await keys.is_valid(GIVEN[:-1])
    (found,) = await keys.list()
    assert (found.name, found.last_used_at is not None) == ("operator", True)
    assert GIVEN not in repr(await workplace.rows("SELECT * FROM api_keys"))


async def test_another_key_of_the_name_takes_its_place_and_those_of_other_names_stay(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    ours = await keys.create("museum")
    await keys.ensure("operator", GIVEN)
    assert await keys.ensure("operator", OTHER)
    assert [await keys.is_valid(key) for key in (ours, GIVEN, OTHER)] == [True, False, True]
    await asyncio.gather(*(keys.ensure("operator", GIVEN) for _ in range(8)))
    assert [await keys.is_valid(key) for key in (ours, GIVEN, OTHER)] == [True, True, False]
    assert [key.name for key in await keys.list()] == ["museum", "operator"]


async def test_a_given_key_that_was_deleted_is_invalid_until_it_is_given_again(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    await keys.ensure("operator", GIVEN)
    (found,) = await keys.list()
    await keys.revoke(found.id)
    assert not await keys.is_valid(GIVEN)
    assert await keys.ensure("operator", GIVEN)
    assert await keys.is_valid(GIVEN)


@pytest.mark.parametrize(
    "key",
    [
        "",
        GIVEN[:31],
        "a" * 64,
        "changeme" * 8,
        "0123456789" * 5,
        "0123456789abcdef" * 2,
        f"1.{GIVEN}",
        f"{GIVEN[:20]} {GIVEN[20:]}",
        f"{GIVEN}é",
        f"{GIVEN}\0",
        GIVEN * 5,
    ],
)
async def test_a_key_that_could_be_guessed_or_confused_is_refused(workplace: Workplace, key: str) -> None:
    keys = ApiKeys(workplace.database)
    with pytest.raises(WeakKey):
        await keys.ensure("operator", key)
    assert await keys.list() == []


async def test_random_keys_are_not_taken_for_weak_ones(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    # As random as others, with few different digits: one in some hundred is like it.
    assert await keys.ensure("operator", "dbec7c554edec76dddbc7dc7cbc8bec6")
    for _ in range(50):
        for key in (secrets.token_hex(16), secrets.token_urlsafe(32)):
            await keys.ensure("operator", key)


async def test_the_secret_is_nowhere_in_the_database(workplace: Workplace) -> None:
    key = await ApiKeys(workplace.database).create("import")
    secret = key.split(".", 1)[1]
    stored = await workplace.rows("SELECT * FROM api_keys")
    assert secret not in repr(stored)
    assert secret.encode() not in b"".join(value for row in stored for value in row if isinstance(value, bytes))
