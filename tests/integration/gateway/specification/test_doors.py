"""No door opens without the right key: every operation that needs one, with every key that is not it.

Operations and the keys that they need are read from the specification, so a new operation is tried, too.
"""

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from aiohttp import web
from multidict import CIMultiDict

import gateway.app
from catalog.keys.api_keys import ApiKeys
from catalog.keys.permissions import Permissions, Scope
from catalog.postgres.database import Database
from gateway.app import gateway as running_gateway
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer, Api, api_client
from tests.integration.gateway.conftest import Parts, settings_for
from tests.integration.gateway.indexing import content
from tests.integration.gateway.specification.conftest import Instance
from tests.integration.gateway.specification.test_examples import SOURCED, first_body
from tests.specification import DOCUMENT, Operation, operations

pytestmark = pytest.mark.asyncio(loop_scope="session")

READING_METHODS = {"GET", "HEAD"}
# They change nothing, although they are POST. Everything else that is not GET must need a key.
READING_POSTS = {"search", "searchBatch", "searchCollections"}
CHANGING = {
    operation.id
    for operation in operations()
    if operation.method not in READING_METHODS and operation.id not in {*READING_POSTS, "verifyKey"}
}
# They need a key, and none for a certain collection: they answer for the collections that the key is for.
FOR_ANY_COLLECTION = {"verifyKey", "listCollections", "searchCollections"}
SOURCE = {"type": "iiif", "url": "https://library.example.org/manifest.json"}
TABLES = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'api_keys' ORDER BY 1
"""


class Door(NamedTuple):
    """An operation and the scope that it needs. closed: only where reading needs a key."""

    operation: Operation
    scope: Scope
    closed: bool


class Attempt(NamedTuple):
    """The keys that are sent in a request, one header for each, and how it must be refused."""

    name: str
    keys: tuple[str, ...]
    status: int
    code: str


@dataclass(frozen=True)
class House:
    """Two gateways on one database. closed: there reading needs a key, too. other: a collection for other keys."""

    open: Api
    closed: Api
    database: Database
    collection: int
    sourced: int
    index: int
    image: int
    other: int

    def gateway_of(self, door: Door) -> Api:
        """Return the gateway at which a door is locked."""
        return self.closed if door.closed else self.open

    async def with_new_collections(self) -> "House":
        """Return it with collections that nobody else uses: one with images, and one with a source."""
        collection = await self.open.create("behind the door")
        (await self.open.upload(collection, content(range(3)))).pushed()
        images = (await self.open.get(f"/api/collection/{collection}/images")).json["images"]
        made = await self.open.post("/api/collection/create", {"name": "with a source", "source": SOURCE})
        return replace(self, collection=collection, image=images[0]["image_id"], sourced=made.pushed()["id"])

    async def knock(self, door: Door, keys: tuple[str, ...]) -> Answer:
        """Send a request that would be carried out if it had the right key."""
        operation = door.operation
        collection = self.sourced if operation.id in SOURCED else self.collection
        path = operation.path.replace("{id}", str(collection))
        path = path.replace("{index_id}", str(self.index)).replace("{image_id}", str(self.image))
        options: dict[str, Any] = {"headers": CIMultiDict(("API-Key", key) for key in keys)}
        if (body := self._body(operation)) is not None:
            options["headers"]["Content-Type"] = "text/csv" if isinstance(body, bytes) else "application/json"
            options["data" if isinstance(body, bytes) else "json"] = body
        if operation.id == "similar":
            options["params"] = {"image_id": str(self.image)}
        if operation.id == "finetune":
            options["params"] = {"force": "true"}
        return await _sent(self.gateway_of(door), operation.method, path, options)

    def _body(self, operation: Operation) -> Any:
        bodies = {
            "addImages": {"images": [{"image_url": "https://images.example.org/n.jpg", "repo_url": "https://a.org/n"}]},
            "deleteImages": {"image_ids": [self.image]},
            "search": {"image_id": self.image},
            "searchBatch": {"queries": [{"image_id": self.image}]},
            "replaceContent": content(range(20, 23)),
        }
        example = first_body(operation)
        return bodies.get(operation.id, example and example[1])

    async def stored(self) -> dict[str, str]:
        """Return a digest of each table. Of keys, it is stored when they were used, so they are left out."""
        async with self.database.connection() as connection:
            tables = [row["table_name"] for row in await connection.fetch(TABLES)]
            found = {}
            for table in tables:
                rows = await connection.fetch(f"SELECT t::text AS row FROM {table} t ORDER BY 1")  # noqa: S608
                found[table] = hashlib.sha256("\n".join(row["row"] for row in rows).encode()).hexdigest()
        return found


async def _sent(api: Api, method: str, path: str, options: dict[str, Any]) -> Answer:
    # A JSON body replaces the headers by a dictionary, which has each name once.
    headers, body = options.pop("headers"), options.pop("json", None)
    if body is not None:
        options["data"] = json.dumps(body).encode()
    return await api.call(method, path, headers=headers, **options)


def doors() -> list[Door]:
    """Return every operation that needs a key, here or where reading needs one."""
    found = []
    for operation in operations():
        security = DOCUMENT["paths"][operation.path][operation.method.lower()]["security"]
        needed = [scope for way in security for scopes in way.values() for scope in scopes]
        if needed:
            found.append(Door(operation, Scope(needed[0]), closed={} in security))
    return found


def name_of(door: Door) -> str:
    """Return the name of a door, for the tests' ids."""
    return door.operation.id


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def house(
    instance: Instance,
    parts: Parts,
    database: Database,
    embedder: RunningEmbedder,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[House]:
    given = {"embedder_address": embedder.target, "fetch_image_urls": False, "read_key_required": True}
    settings = settings_for(parts, given, tmp_path_factory.mktemp("spool"))
    async with (
        running_gateway(settings) as closed,
        api_client(f"http://{closed.host}:{closed.port}", parts.key) as closed_api,
    ):
        other = await instance.api.create("for another key")
        images = (await instance.api.get(f"/api/collection/{instance.collection}/images")).json["images"]
        made = await instance.api.post("/api/collection/create", {"name": "with a source", "source": SOURCE})
        yield House(
            open=instance.api,
            closed=closed_api,
            database=database,
            collection=instance.collection,
            sourced=made.pushed()["id"],
            index=instance.index,
            image=images[0]["image_id"],
            other=other,
        )


async def attempts(house: House, door: Door) -> list[Attempt]:
    """Return all ways to send a key that does not open a door."""
    keys = ApiKeys(house.database)
    good = await keys.create("right", Permissions(door.scope))
    number, _, secret = good.partition(".")
    revoked = await keys.create("revoked", Permissions(door.scope))
    await keys.revoke(int(revoked.partition(".")[0]))
    replaced, supplied = secrets.token_hex(32), secrets.token_hex(32)
    for key in (replaced, supplied):
        await keys.ensure("of the operator", key)
    expired = await keys.create("expired", Permissions(door.scope, None, datetime.now(UTC) - timedelta(seconds=1)))
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    found = [
        Attempt("no key", (), 403, "forbidden"),
        Attempt("empty", ("",), 403, "forbidden"),
        Attempt("wrong", (f"{number}.{changed}",), 403, "forbidden"),
        Attempt("of another id", (f"{int(number) + 1_000_000}.{secret}",), 403, "forbidden"),
        Attempt("revoked", (revoked,), 403, "forbidden"),
        Attempt("replaced by its operator", (replaced,), 403, "forbidden"),
        Attempt("of an operator, truncated", (supplied[:-1],), 403, "forbidden"),
        *(Attempt(f"truncated by {n}", (good[:-n],), 403, "forbidden") for n in (1, len(secret), len(good) - 1)),
        *(Attempt(f"padded with {pad!r}", (f"{good}{pad}",), 403, "forbidden") for pad in ("=", "A", ".", " x")),
        *(Attempt(f"behind {pad!r}", (f"{pad}{good}",), 403, "forbidden") for pad in ("0", "x", "Bearer ")),
        Attempt("expired", (expired,), 403, "key_expired"),
        Attempt("secret without id", (secret,), 403, "forbidden"),
        Attempt("the right one twice", (good, good), 400, "several_keys"),
        Attempt("the right one and another", (good, revoked), 400, "several_keys"),
        Attempt("another and the right one", (revoked, good), 400, "several_keys"),
    ]
    too_narrow = [scope for scope in Scope if not scope.includes(door.scope)]
    narrow = {scope: await keys.create("narrow", Permissions(scope)) for scope in too_narrow}
    found += [Attempt(f"only {scope}", (key,), 403, "key_not_allowed") for scope, key in narrow.items()]
    if door.operation.id not in FOR_ANY_COLLECTION:
        other = await keys.create("other", Permissions(door.scope, frozenset({house.other})))
        found.append(Attempt("for another collection", (other,), 403, "key_not_allowed"))
    return found


@pytest.mark.parametrize("door", doors(), ids=name_of)
async def test_no_key_but_the_right_one_opens_a_door(house: House, door: Door) -> None:
    tried = await attempts(house, door)
    before = await house.stored()
    for attempt in tried:
        answer = await house.knock(door, attempt.keys)
        assert (answer.status, answer.json.get("code")) == (attempt.status, attempt.code), attempt.name
        answer.refused(attempt.status, attempt.code)
    assert await house.stored() == before


async def test_what_is_no_reading_needs_a_key() -> None:
    locked = {door.operation.id: door for door in doors()}
    for operation in operations():
        if operation.method not in READING_METHODS and operation.id not in READING_POSTS:
            assert operation.id in locked, f"{operation.method} {operation.path} needs no key"
            assert not locked[operation.id].closed, f"{operation.method} {operation.path} is open to those who read"


async def test_the_gateway_has_no_door_that_the_specification_does_not_know(
    parts: Parts, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[web.Application] = []
    build = gateway.app._runner

    def runner(application: web.Application, *arguments: Any) -> Any:
        made.append(application)
        return build(application, *arguments)

    monkeypatch.setattr(gateway.app, "_runner", runner)
    async with running_gateway(settings_for(parts, {}, tmp_path_factory.mktemp("spool"))):
        pass
    found = {
        (route.method, route.resource.canonical)
        for route in made[0].router.routes()
        if route.resource is not None and route.method not in READING_METHODS
    }
    described = {(each.method, each.path) for each in operations() if each.method not in READING_METHODS}
    assert found == described


@pytest.mark.parametrize("door", [door for door in doors() if door.closed], ids=name_of)
async def test_a_reader_is_let_in_with_the_right_key(house: House, door: Door) -> None:
    """So what was refused would have been answered, with a 400 at worst if this gateway does not serve it."""
    key = await ApiKeys(house.database).create("right", Permissions(door.scope))
    answer = await house.knock(door, (key,))
    assert answer.status == 200 or answer.json["code"] in ("thumbnails_not_served", "no_source"), answer.body


# What there must be before an operation can change something.
FIRST = {"cancelFinetune": "collection/{id}/finetune", "readSource": "collection/{source}/source/cancel"}


@pytest.mark.parametrize("door", [door for door in doors() if door.operation.id in CHANGING], ids=name_of)
async def test_the_request_that_is_refused_would_change_something(house: House, door: Door) -> None:
    """With the right key, it does: an operation that does not check it fails the first test."""
    new = await house.with_new_collections()
    if door.operation.id in FIRST:
        path = FIRST[door.operation.id].format(id=new.collection, source=new.sourced)
        (await new.open.post(f"/api/{path}?force=true")).pushed()
    only = None if door.operation.id == "createCollection" else frozenset({new.collection, new.sourced})
    key = await ApiKeys(new.database).create("right", Permissions(door.scope, only))
    before = await new.stored()
    (await new.knock(door, (key,))).pushed()
    assert await new.stored() != before
