"""API keys: shown once, compared by digest, revoked at once."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from catalog.keys.api_keys import ApiKeys, UnknownCollections, WeakKey
from catalog.keys.permissions import Permissions, Scope
from catalog.statistics import Statistics
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


async def test_a_malformed_or_altered_key_is_invalid(workplace: Workplace) -> None:
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
        secret,
        f"0{key}",
        f"000{key}",
        f"0{identifier}.{secret}",
    ]
    assert [key for key in wrong if await keys.is_valid(key)] == []
    assert await keys.is_valid(key)


SUPPLIED = "0f8e4c2b9a7d6351e0f4a8b2c6d9173f5a2e8b4c0d6f9173"
OTHER = "Zk3vXq9LmT2bWn8RcY5hJd7GfP4sKe6U"


async def test_supplying_the_same_key_again_changes_nothing(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    assert not await keys.is_valid(SUPPLIED)
    assert await keys.ensure("operator", SUPPLIED)
    assert not await keys.ensure("operator", SUPPLIED)
    assert await keys.is_valid(SUPPLIED)
    assert not await keys.is_valid(SUPPLIED[:-1])
    (stored,) = await keys.list()
    assert not await keys.is_valid(f"{stored.id}.{SUPPLIED}"), "a supplied key has no id"
    (found,) = await keys.list()
    assert (found.name, found.last_used_at is not None) == ("operator", True)
    assert SUPPLIED not in repr(await workplace.rows("SELECT * FROM api_keys"))


async def test_a_supplied_key_replaces_only_the_one_with_the_same_name(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    ours = await keys.create("museum")
    await keys.ensure("operator", SUPPLIED)
    assert await keys.ensure("operator", OTHER)
    assert [await keys.is_valid(key) for key in (ours, SUPPLIED, OTHER)] == [True, False, True]
    await asyncio.gather(*(keys.ensure("operator", SUPPLIED) for _ in range(8)))
    assert [await keys.is_valid(key) for key in (ours, SUPPLIED, OTHER)] == [True, True, False]
    assert [key.name for key in await keys.list()] == ["museum", "operator"]


async def test_a_revoked_supplied_key_is_valid_again_after_it_is_supplied_again(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    await keys.ensure("operator", SUPPLIED)
    (found,) = await keys.list()
    await keys.revoke(found.id)
    assert not await keys.is_valid(SUPPLIED)
    assert await keys.ensure("operator", SUPPLIED)
    assert await keys.is_valid(SUPPLIED)


@pytest.mark.parametrize(
    "key",
    [
        "",
        SUPPLIED[:31],
        "a" * 64,
        "changeme" * 8,
        "0123456789" * 5,
        "0123456789abcdef" * 2,
        f"1.{SUPPLIED}",
        f"{SUPPLIED[:20]} {SUPPLIED[20:]}",
        f"{SUPPLIED}é",
        f"{SUPPLIED}\0",
        SUPPLIED * 5,
    ],
)
async def test_a_weak_or_ambiguous_supplied_key_is_refused(workplace: Workplace, key: str) -> None:
    keys = ApiKeys(workplace.database)
    with pytest.raises(WeakKey):
        await keys.ensure("operator", key)
    assert await keys.list() == []


async def test_random_keys_are_not_considered_weak(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    # Random, with few distinct digits: about one random key in several hundred is like this.
    assert await keys.ensure("operator", "dbec7c554edec76dddbc7dc7cbc8bec6")
    for _ in range(50):
        for key in (secrets.token_hex(16), secrets.token_urlsafe(32)):
            await keys.ensure("operator", key)


async def test_the_database_does_not_contain_the_secret(workplace: Workplace) -> None:
    key = await ApiKeys(workplace.database).create("import")
    secret = key.split(".", 1)[1]
    stored = await workplace.rows("SELECT * FROM api_keys")
    assert secret not in repr(stored)
    assert secret.encode() not in b"".join(value for row in stored for value in row if isinstance(value, bytes))


async def test_keys_from_before_scopes_keep_working_in_the_form_that_was_given_out(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    generated = await keys.create("web site")
    looks_generated = secrets.token_urlsafe(32)
    for name, key in (("chart", SUPPLIED), ("other", looks_generated)):
        await keys.ensure(name, key)
    async with workplace.database.connection() as connection:
        await connection.execute("UPDATE api_keys SET supplied = NULL")
    assert {key.permissions for key in await keys.list()} == {Permissions()}
    assert [await keys.is_valid(key) for key in (generated, SUPPLIED)] == [True, True]
    first, second, third = await keys.list()
    for wrong in (generated.partition(".")[2], f"{second.id}.{SUPPLIED}", f"{first.id + 1}{generated[1:]}"):
        assert not await keys.is_valid(wrong)
    # Its form is that of a generated secret. Importing it again settles what it is, as each upgrade of the chart does.
    await keys.ensure("other", looks_generated)
    assert await keys.is_valid(looks_generated)
    assert not await keys.is_valid(f"{third.id}.{looks_generated}")


async def test_a_key_keeps_its_permissions_until_it_expires(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    collection = await workplace.collection([])
    permissions = Permissions(Scope.WRITE, frozenset({collection}), datetime.now(UTC) + timedelta(days=3))
    key = await keys.create("import", permissions)
    found = await keys.find(key)
    assert found is not None
    assert (found.name, found.permissions, found.expired) == ("import", permissions, False)
    (listed,) = await keys.list()
    assert (listed.permissions, listed.expired) == (permissions, False)
    assert (await Statistics(workplace.database).snapshot()).api_keys == {"valid": 0, "expiring": 1, "expired": 0}
    async with workplace.database.connection() as connection:
        await connection.execute("UPDATE api_keys SET expires_at = now()")
    assert not await keys.is_valid(key)
    found = await keys.find(key)
    assert found is not None
    assert found.expired
    assert (await Statistics(workplace.database).snapshot()).api_keys == {"valid": 0, "expiring": 0, "expired": 1}


async def test_a_key_for_a_collection_that_does_not_exist_is_refused(workplace: Workplace) -> None:
    keys = ApiKeys(workplace.database)
    collection = await workplace.collection([])
    with pytest.raises(UnknownCollections, match="no collection with the id 123456, 123457"):
        await keys.create("import", Permissions(collections=frozenset({collection, 123457, 123456})))
    assert await keys.list() == []
