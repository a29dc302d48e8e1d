"""What a key may do: its scope, its collections, its expiry, and the one form in which it is sent."""

from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
import pytest_asyncio
from multidict import CIMultiDict
from structlog.testing import capture_logs

from catalog.keys.api_keys import ApiKeys
from catalog.keys.permissions import Permissions, Scope
from catalog.postgres.database import Database
from gateway.http.routes import Route, api_routes
from tests.integration.gateway.api import Answer, Api
from tests.integration.gateway.conftest import Launch

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW = b"https://me:secret@example.org/1.jpg,https://repo.example.org/1\n"
ROUTES = list(api_routes(Mock(), request_seconds=1, upload_seconds=1))


@pytest_asyncio.fixture(loop_scope="session")
async def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


@pytest_asyncio.fixture(loop_scope="session")
async def closed(launch: Launch) -> Api:
    """A gateway where reading needs a key."""
    return await launch(read_key_required=True)


async def called(api: Api, route: Route, key: str, collection: int = 0) -> Answer:
    path = route.path.replace("{id}", str(collection)).replace("{index_id}", "1").replace("{image_id}", "1")
    return await api.call(route.method, path, headers={"API-Key": key})


async def test_each_route_refuses_the_scopes_below_its_own(closed: Api, keys: ApiKeys) -> None:
    """Collection 0 does not exist, so nothing changes."""
    assert {route.scope for route in ROUTES} == set(Scope)
    for scope in Scope:
        key = await keys.create(f"only {scope}", Permissions(scope))
        for route in ROUTES:
            answer = await called(closed, route, key)
            if scope.includes(route.scope):
                assert answer.status < 404, route
                assert b"key_not_allowed" not in answer.body, route
            else:
                problem = answer.refused(403, "key_not_allowed")
                needed = f"This API key has the scope {scope}, but this request needs the scope {route.scope}."
                assert problem["message"] == needed


async def test_a_key_for_one_collection_does_not_open_another(closed: Api, api: Api, keys: ApiKeys) -> None:
    own, other = await api.create("own"), await api.create("other")
    key = await keys.create("one collection", Permissions(Scope.ADMIN, frozenset({own})))
    for route in ROUTES:
        if "{id}" in route.path:
            problem = (await called(closed, route, key, other)).refused(403, "key_not_allowed")
            assert problem["message"] == f"This API key is only for collection {own}, not for collection {other}."
    problem = (await api.post("/api/collection/create", {"name": "new"}, key=key)).refused(403, "key_not_allowed")
    assert "needs a key for all collections" in problem["message"]
    listed = await closed.get("/api/collection/list", headers={"API-Key": key})
    assert listed.json["ids"] == [own]
    assert (await api.get("/api/collection/list", headers={"API-Key": key})).json["ids"][-2:] == [own, other]
    (await api.post(f"/api/collection/{own}/updatename", {"name": "renamed"}, key=key)).pushed()
    (await api.post(f"/api/collection/{own}/delete", key=key)).pushed()
    assert (await api.info(other))["name"] == "other"


async def test_a_key_for_another_collection_shows_no_credentials(api: Api, keys: ApiKeys) -> None:
    own, other = await api.create("own"), await api.create("other")
    key = await keys.create("one collection", Permissions(Scope.READ, frozenset({own})))
    for identifier, shown in ((own, True), (other, False)):
        await api.upload_raw(identifier, ROW)
        answer = await api.get(f"/api/collection/{identifier}/csvfile", headers={"API-Key": key})
        assert (b"secret" in answer.body) == shown
        assert (answer.headers.get("Cache-Control") == "no-store") == shown


async def test_an_expired_key_is_refused_like_a_wrong_one_and_says_so(
    closed: Api, api: Api, keys: ApiKeys, database: Database
) -> None:
    identifier = await api.create("kept")
    await api.upload_raw(identifier, ROW)
    key = await keys.create("short", Permissions(expires_at=datetime.now(UTC) + timedelta(days=1)))
    (await api.post("/api/verify", key=key)).pushed()
    async with database.connection() as connection:
        await connection.execute("UPDATE api_keys SET expires_at = '2026-01-02T03:04:05Z' WHERE name = 'short'")
    with capture_logs() as events:
        answers = [
            await api.post("/api/verify", key=key),
            await api.post(f"/api/collection/{identifier}/delete", key=key),
            await closed.get("/api/collection/list", headers={"API-Key": key}),
        ]
    for answer in answers:
        problem = answer.refused(403, "key_expired")
        assert problem["message"] == "Invalid API key"
        assert problem["detail"] == "Invalid API key. It expired at 2026-01-02T03:04:05Z."
    [event] = [event for event in events if event["event"] == "audit"]
    assert (event["outcome"], event["code"]) == ("refused", "key_expired")
    open_to_all = await api.get(f"/api/collection/{identifier}/csvfile", headers={"API-Key": key})
    assert (open_to_all.status, b"secret" in open_to_all.body) == (200, False)


async def test_verify_describes_the_key(api: Api, keys: ApiKeys) -> None:
    answer = (await api.post("/api/verify")).pushed()
    described = {"scope": "admin", "collections": None, "expires_at": None}
    assert answer == {"message": "API key is valid", "message_type": "push", **described}
    first, second = await api.create("a"), await api.create("b")
    until = datetime(2199, 12, 31, 18, tzinfo=UTC)
    key = await keys.create("narrow", Permissions(Scope.READ, frozenset({second, first}), until))
    answer = (await api.post("/api/verify", key=key)).pushed()
    narrow = {"scope": "read", "collections": [first, second], "expires_at": "2199-12-31T18:00:00Z"}
    assert answer == {"message": "API key is valid", "message_type": "push", **narrow}


async def test_several_keys_are_refused_even_if_one_is_valid(api: Api, closed: Api) -> None:
    identifier = await api.create("kept")
    for second in (api.key, "wrong", ""):
        for pair in ((api.key, second), (second, api.key)):
            twice = CIMultiDict(("API-Key", one) for one in pair)
            for path in ("/api/verify", f"/api/collection/{identifier}/delete"):
                (await api.call("POST", path, headers=twice)).refused(400, "several_keys")
            (await closed.get("/api/collection/list", headers=twice)).refused(400, "several_keys")
            assert (await api.get("/api/collection/list", headers=twice)).status == 200
    assert (await api.info(identifier))["name"] == "kept"


async def test_a_generated_key_is_valid_in_one_form_only(api: Api) -> None:
    identifier, _, secret = api.key.partition(".")
    for form in (secret, f"0{identifier}.{secret}", f"00{api.key}", f"{identifier}..{secret}", f"+{api.key}"):
        problem = (await api.post("/api/verify", key=form)).refused(403, "forbidden")
        assert problem["message"] == "Invalid API key"
        assert ("Send the whole key" in problem["detail"]) == (form == secret)


async def test_answers_are_not_stored_where_reading_needs_a_key(closed: Api, api: Api) -> None:
    identifier = await api.create("a")
    key = {"API-Key": api.key}
    for path in ("list", f"{identifier}/info", f"{identifier}/csvfile", f"{identifier}/failures"):
        answer = await closed.get(f"/api/collection/{path}", headers=key)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        assert "Cache-Control" not in (await api.get(f"/api/collection/{path}")).headers
