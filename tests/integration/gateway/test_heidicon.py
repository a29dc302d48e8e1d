"""Collections with content from HeidICON."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from servicekit.heidicon.client import heidicon_session
from tests.integration.gateway.api import Api
from tests.integration.gateway.conftest import Launch
from tests.integration.gateway.easydb import PAGE, TAGS, EasyDb, running_easydb, thing, version

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def easydb() -> AsyncIterator[EasyDb]:
    async with running_easydb() as instance:
        yield instance


@pytest_asyncio.fixture(loop_scope="session")
async def api(launch: Launch, easydb: EasyDb) -> Api:
    return await launch(heidicon_url=easydb.url + "/")


async def create(api: Api, tag: object) -> Any:
    return await api.post("/api/collection/create", {"name": "from HeidICON", "heidicon_tag": tag})


async def rows(api: Api, identifier: int) -> list[list[str]]:
    return list(csv.reader(io.StringIO((await api.csv(identifier)).decode())))


async def test_create_imports_the_objects_of_a_tag_as_a_csv(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(7), thing(9)]
    created = (await create(api, "Münzen")).pushed()
    assert set(created) == {"id", "message", "message_type"}
    info = await api.info(created["id"])
    assert (info["heidicon_tag"], info["number_of_images"]) == ("Münzen", 2)
    assert await rows(api, created["id"]) == [
        ["https://images.example.org/7/full,1.jpg", f"{easydb.url}/#/detail/7"],
        ["https://images.example.org/9/full,1.jpg", f"{easydb.url}/#/detail/9"],
    ]
    assert easydb.searches[0] == {
        "search": [{"type": "in", "bool": "must", "fields": ["_tags._id"], "in": [1]}],
        "offset": 0,
        "limit": 1000,
    }


@pytest.mark.parametrize(
    ("tag", "identifier"),
    [("Coins", 1), ("Münzen", 1), ("Karten", 2), ("Deep", 3), ("3", 3), (3, 3), ("5", 5), (" Deep ", 3)],
)
async def test_a_tag_is_found_by_its_name_in_any_language_or_its_id(
    api: Api, easydb: EasyDb, tag: object, identifier: int
) -> None:
    (await create(api, tag)).pushed()
    assert [search["search"][0]["in"] for search in easydb.searches] == [[identifier]]


@pytest.mark.parametrize("tag", ["Unknown", "münzen", "Sammlungen", "10", "0", "Doppel"])
async def test_an_unknown_tag_is_refused_and_creates_nothing(api: Api, tag: str) -> None:
    before = (await api.get("/api/collection/list")).json
    (await create(api, tag)).refused(400, "heidicon_tag_unknown")
    assert (await api.get("/api/collection/list")).json == before


async def test_the_first_of_several_tags_with_one_name_is_read_and_a_warning_says_so(api: Api, easydb: EasyDb) -> None:
    easydb.tags, easydb.objects = [TAGS[3], *TAGS], [thing(1)]
    created = (await create(api, "Doppelt")).pushed()
    [warning] = created["warnings"]
    assert "5, 4" in warning
    again = (await api.post(f"/api/collection/{created['id']}/updatecontent")).pushed()
    assert again["warnings"] == [warning]
    assert [search["search"][0]["in"] for search in easydb.searches] == [[5], [5]]
    assert "warnings" not in (await create(api, 4)).pushed()


async def abandoned(api: Api, easydb: EasyDb, path: str, body: bytes) -> asyncio.Event:
    """Send a request and leave while HeidICON is being read. Return the event that lets HeidICON answer."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: str) -> None:
        reached.set()
        await go_on.wait()

    easydb.wait = wait
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAPI-Key: {api.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + body)
    await reached.wait()
    writer.transport.abort()
    return go_on


async def test_an_import_is_finished_when_its_client_has_left(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(1)]
    body = b'{"name": "finished anyway", "heidicon_tag": "Coins"}'
    go_on = await abandoned(api, easydb, "/api/collection/create", body)
    names: dict[str, int] = {}

    async def found(name: str, images: int) -> bool:
        listed = (await api.get("/api/collection/list")).json["names"]
        names.update({entry["name"]: entry["id"] for entry in listed})
        return name in names and (await api.info(names[name]))["number_of_images"] == images

    with capture_logs() as events:
        go_on.set()
        await until(lambda: found("finished anyway", 1))
        await until(lambda: audited(events))
    [audit] = [event for event in events if event["event"] == "audit"]
    assert (audit["outcome"], audit["collection"]) == ("done", names["finished anyway"])
    easydb.objects = [thing(1), thing(2)]
    path = f"/api/collection/{names['finished anyway']}/updatecontent"
    (await abandoned(api, easydb, path, b"")).set()
    await until(lambda: found("finished anyway", 2))


async def test_an_import_without_its_client_ends_at_the_deadline(launch: Launch, easydb: EasyDb) -> None:
    api = await launch(heidicon_url=easydb.url, upload_seconds=0.5)
    before = (await api.get("/api/collection/list")).json
    go_on = await abandoned(api, easydb, "/api/collection/create", b'{"name": "late", "heidicon_tag": "Coins"}')
    await until(lambda: the_import_has_ended(api))
    go_on.set()
    assert (await api.get("/api/collection/list")).json == before


async def audited(events: list[Any]) -> bool:
    return any(event["event"] == "audit" for event in events)


async def the_import_has_ended(api: Api) -> bool:
    metrics = (await api.get("/metrics")).body.decode()
    return 'similis_upload_stage_duration_seconds_count{stage="heidicon"} 1.0' in metrics


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - only the API tells
            await asyncio.sleep(0.02)


async def test_the_time_without_data_is_the_heidicon_setting(launch: Launch, easydb: EasyDb) -> None:
    api = await launch(heidicon_url=easydb.url, heidicon_seconds=55.0)
    async with heidicon_session(55.0) as session:
        assert session.timeout.sock_read == 55.0
    (await create(api, "Coins")).pushed()


@pytest.mark.parametrize("tag", [True, 1.5, ["a"], {"a": 1}, "x" * 201, "a\0b"])
async def test_a_malformed_tag_is_refused(api: Api, tag: object) -> None:
    (await create(api, tag)).refused(400, "invalid_heidicon_tag")


@pytest.mark.parametrize("tag", [None, "", "  "])
async def test_heidicon_is_not_contacted_without_a_tag(api: Api, easydb: EasyDb, tag: object) -> None:
    easydb.fault = lambda *_: web.Response(status=500)
    identifier = (await create(api, tag)).pushed()["id"]
    assert (await api.info(identifier))["heidicon_tag"] is None


async def test_a_bad_name_is_refused_before_heidicon_is_contacted(api: Api, easydb: EasyDb) -> None:
    easydb.fault = lambda *_: web.Response(status=500)
    answer = await api.post("/api/collection/create", {"name": "", "heidicon_tag": "Coins"})
    answer.refused(400, "invalid_name")


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000, 9500])
async def test_each_object_is_imported_once(api: Api, easydb: EasyDb, count: int) -> None:
    easydb.objects = [thing(identifier) for identifier in range(count)]
    identifier = (await create(api, "Coins")).pushed()["id"]
    assert (await api.info(identifier))["number_of_images"] == count
    found = [int(row[1].rpartition("/")[2]) for row in await rows(api, identifier)]
    assert found == list(range(count))
    assert sorted(search["offset"] for search in easydb.searches) == list(range(0, max(count, 1), PAGE))


async def test_eight_pages_are_read_in_parallel(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(identifier) for identifier in range(20 * PAGE)]
    active, most_active = 0, 0
    eight = asyncio.Event()

    async def wait(path: str) -> None:
        nonlocal active, most_active
        if path != "/api/search" or not easydb.searches:
            return
        active += 1
        most_active = max(most_active, active)
        if active == 8:
            eight.set()
        await eight.wait()
        active -= 1

    easydb.wait = wait
    (await create(api, "Coins")).pushed()
    assert most_active == 8


async def test_the_first_usable_version_of_an_asset_is_used(api: Api, easydb: EasyDb) -> None:
    full, huge, small = (version(f"https://i.example.org/{name}") for name in ("full", "huge", "small"))
    easydb.objects = [
        thing(1, {"small": small, "huge": huge, "full": full}),
        thing(2, {"full": {**full, "_not_allowed": True}, "huge": huge}),
        thing(3, {"full": {**full, "_download_allowed": False}, "small": small}),
        thing(4, {"full": {**full, "status": "processing"}, "huge": {**huge, "status": "failed"}, "small": small}),
        thing(5, {"full": {**full, "_not_allowed": True}}),
        thing(6, {"preview": version("https://i.example.org/preview")}),
        thing(7, {"full": {**full, "_download_allowed": True}}, {"huge": huge}, {}),
        thing(8, {"full": None, "small": small}),
        {"_system_object_id": 9},
        {"_system_object_id": 10, "ressourcen": None},
        {"_system_object_id": 11, "ressourcen": {"asset": None}},
        {"_system_object_id": 12, "ressourcen": {"asset": [{}]}},
    ]
    identifier = (await create(api, "Coins")).pushed()["id"]
    found = [(row[0].rpartition("/")[2], int(row[1].rpartition("/")[2])) for row in await rows(api, identifier)]
    assert found == [("full", 1), ("huge", 2), ("small", 3), ("small", 4), ("full", 7), ("huge", 7), ("small", 8)]


async def test_updatecontent_imports_again_and_ignores_its_body(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(1)]
    identifier = (await create(api, "Coins")).pushed()["id"]
    before = await api.info(identifier)
    again = await api.post(f"/api/collection/{identifier}/updatecontent", data=b"whatever")
    assert again.pushed()["number_of_images"] == 1
    assert await api.info(identifier) == before
    easydb.objects = [thing(1), thing(2)]
    again = await api.upload_raw(identifier, b"no,csv,at all")
    assert again.pushed()["number_of_images"] == 2


async def test_an_import_is_a_revision_with_the_name_of_its_key(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(1)]
    identifier = (await create(api, "Coins")).pushed()["id"]
    first = await api.csv(identifier)
    easydb.objects = []
    answer = (await api.post(f"/api/collection/{identifier}/updatecontent")).pushed()
    assert (answer["number_of_images"], answer["warnings"]) == (0, ["HeidICON has no images for the tag “Coins”."])
    revisions = (await api.get(f"/api/collection/{identifier}/revisions")).json["revisions"]
    assert [(one["revision"], one["rows"], one["key"]) for one in revisions] == [(2, 0, "tests"), (1, 1, "tests")]
    assert (await api.get(f"/api/collection/{identifier}/csvfile?revision=1")).body == first


def _at(path: str, response: Any) -> Any:
    return lambda request, _: response() if request.path == path else None


def _cut_short() -> web.Response:
    response = web.Response(body=b"{}", headers={"Content-Length": "100"})
    response.force_close()
    return response


FAULTS = {
    "a server error": _at("/api/session", lambda: web.Response(status=500)),
    "not JSON": _at("/api/session", lambda: web.Response(text="<html>")),
    "a missing token": _at("/api/session", lambda: web.json_response({})),
    "a token that is not text": _at("/api/session", lambda: web.json_response({"token": 7})),
    "a session that is a list": _at("/api/session", lambda: web.json_response([])),
    "a refused session": _at("/api/session/authenticate", lambda: web.Response(status=403)),
    "a redirect": _at("/api/tags", lambda: web.Response(status=302, headers={"Location": "/api/tags2"})),
    "tags in an object": _at("/api/tags", lambda: web.json_response({})),
    "tags that are text": _at("/api/tags", lambda: web.json_response(["Coins"])),
    "tags without ids": _at("/api/tags", lambda: web.json_response([{"_basetype": "tag", "tag": {}}])),
    "tags without fields": _at("/api/tags", lambda: web.json_response([{"_basetype": "tag"}])),
    "deeply nested tags": _at("/api/tags", lambda: web.Response(text="[" * 100_000)),
    "broken JSON": _at("/api/search", lambda: web.Response(text='{"objects": [')),
    "a page in another encoding": _at("/api/search", lambda: web.Response(body=b'{"objects": ["\xff"]}')),
    "a page that is a list": _at("/api/search", lambda: web.json_response([])),
    "a missing count": _at("/api/search", lambda: web.json_response({"objects": []})),
    "a negative count": _at("/api/search", lambda: web.json_response({"objects": [], "count": -1})),
    "a count that is text": _at("/api/search", lambda: web.json_response({"objects": [], "count": "1"})),
    "missing objects": _at("/api/search", lambda: web.json_response({"count": 0})),
    "fewer objects than announced": _at("/api/search", lambda: web.json_response({"count": 1, "objects": []})),
    "more objects than requested": _at(
        "/api/search", lambda: web.json_response({"count": 1, "objects": [thing(i) for i in range(1001)]})
    ),
    "an answer cut short": _at("/api/search", _cut_short),
}  # fmt: skip
OBJECTS: dict[str, Any] = {
    "an object that is a number": 7,
    "an object without an id": {"ressourcen": {}},
    "an id that is text": {"_system_object_id": "7"},
    "ressourcen that are a list": {"_system_object_id": 7, "ressourcen": ["x"]},
    "assets in an object": {"_system_object_id": 7, "ressourcen": {"asset": {"a": 1}}},
    "an asset that is a number": {"_system_object_id": 7, "ressourcen": {"asset": [7]}},
    "versions that are a list": {"_system_object_id": 7, "ressourcen": {"asset": [{"versions": [1]}]}},
    "a version that is a number": thing(7, {"full": 7}),
    "a version without a URL": thing(7, {"full": {"status": "done"}}),
    "a URL that is not http(s)": thing(7, {"full": version("file:///etc/passwd")}),
    "a URL with a newline": thing(7, {"full": version("https://a/\nb")}),
    "a URL with a NUL": thing(7, {"full": version("https://a/\0b")}),
    "a URL with a lone surrogate": thing(7, {"full": version("https://a/\ud800")}),
}


async def assert_refused_without_change(api: Api, code: str) -> None:
    before = (await api.get("/api/collection/list")).json
    problem = (await create(api, "Coins")).refused(502, code)
    assert "HeidICON" in problem["detail"]
    assert (await api.get("/api/collection/list")).json == before


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_unexpected_answer_is_a_502_and_creates_nothing(api: Api, easydb: EasyDb, fault: str) -> None:
    easydb.objects, easydb.fault = [thing(1)], FAULTS[fault]
    code = {"fewer objects than announced": "heidicon_incomplete", "an answer cut short": "heidicon_unavailable"}
    await assert_refused_without_change(api, code.get(fault, "heidicon_bad_answer"))


@pytest.mark.parametrize("fault", OBJECTS)
async def test_a_malformed_object_is_a_502(api: Api, easydb: EasyDb, fault: str) -> None:
    easydb.objects = [thing(1), OBJECTS[fault]]
    await assert_refused_without_change(api, "heidicon_bad_answer")


async def test_a_failed_import_keeps_the_old_content(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(1), thing(2)]
    identifier = (await create(api, "Coins")).pushed()["id"]
    before, stored = await api.info(identifier), await api.csv(identifier)
    path = f"/api/collection/{identifier}/updatecontent"
    easydb.fault = FAULTS["broken JSON"]
    (await api.post(path)).refused(502, "heidicon_bad_answer")
    easydb.fault, easydb.tags = None, []
    (await api.post(path)).refused(400, "heidicon_tag_unknown")
    assert (await api.info(identifier), await api.csv(identifier)) == (before, stored)


@pytest.mark.parametrize("path", ["/api/session", "/api/session/authenticate", "/api/tags", "/api/search"])
async def test_a_slow_instance_is_a_502_before_the_deadline(launch: Launch, easydb: EasyDb, path: str) -> None:
    api = await launch(heidicon_url=easydb.url, heidicon_seconds=0.5)
    never = asyncio.Event()

    async def wait(asked: str) -> None:
        if asked == path:
            await never.wait()

    easydb.wait = wait
    started = asyncio.get_running_loop().time()
    await assert_refused_without_change(api, "heidicon_unavailable")
    assert asyncio.get_running_loop().time() - started < 30


def slowly(easydb: EasyDb) -> None:
    """Let the instance send a page every now and then, and so many that they take too long."""
    easydb.objects = [thing(identifier) for identifier in range(PAGE)]
    easydb.total = lambda _: 1_000_000

    async def wait(path: str) -> None:
        if path == "/api/search":
            await asyncio.sleep(0.1)

    easydb.wait = wait


async def test_a_tag_that_takes_too_long_is_read_afterwards(launch: Launch, easydb: EasyDb) -> None:
    api = await launch(heidicon_url=easydb.url, heidicon_seconds=5.0)
    slowly(easydb)
    created = (await create(api, "Coins")).pushed()
    assert created["message"] == "Collection created"
    assert "read in the background" in created["warnings"][0]
    info = await api.info(created["id"])
    assert (info["heidicon_tag"], info["number_of_images"]) == ("Coins", 0)
    source = info["source"]
    assert (source["type"], source["url"], source["set"], source["state"]) == ("heidicon", easydb.url, "1", "queued")
    # Asking again does not read it twice.
    again = (await api.post(f"/api/collection/{created['id']}/updatecontent")).pushed()
    assert (again["number_of_images"], again["reading_id"]) == (0, created["reading_id"])
    await api.post(f"/api/collection/{created['id']}/source/cancel")
    easydb.wait, easydb.total, easydb.objects = None, None, [thing(1)]
    quick = (await api.post(f"/api/collection/{created['id']}/updatecontent")).pushed()
    assert quick["number_of_images"] == 1
    slowly(easydb)
    slow = (await api.post(f"/api/collection/{created['id']}/updatecontent")).pushed()
    assert slow["message"] == "The content is being read from HeidICON"
    assert (slow["number_of_images"], slow["reading_id"] > created["reading_id"]) == (1, True)
    for path, body in (("images", {"images": []}), ("images/delete", {"image_ids": [1]})):
        (await api.post(f"/api/collection/{created['id']}/{path}", body)).refused(400, "content_is_imported")


async def test_an_instance_that_falls_silent_is_a_502(launch: Launch, easydb: EasyDb) -> None:
    api = await launch(heidicon_url=easydb.url, heidicon_seconds=2.0)
    easydb.objects = [thing(identifier) for identifier in range(20 * PAGE)]
    never = asyncio.Event()

    async def wait(path: str) -> None:
        if path == "/api/search" and easydb.searches:
            await never.wait()

    easydb.wait = wait
    await assert_refused_without_change(api, "heidicon_unavailable")


async def test_an_unreachable_instance_is_a_502(launch: Launch) -> None:
    api = await launch(heidicon_url="http://127.0.0.1:1")
    await assert_refused_without_change(api, "heidicon_unavailable")


async def test_an_error_on_a_later_page_is_a_502(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(identifier) for identifier in range(5 * PAGE)]
    easydb.fault = lambda request, body: (
        web.Response(status=500) if request.path == "/api/search" and body["offset"] == 3 * PAGE else None
    )
    await assert_refused_without_change(api, "heidicon_bad_answer")


async def test_an_object_on_two_pages_is_imported_once(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(identifier) for identifier in [*range(PAGE), PAGE - 1, *range(PAGE, 1500)]]
    easydb.total = lambda _: 1500
    easydb.objects.pop()
    easydb.objects.append(thing(1499))
    identifier = (await create(api, "Coins")).pushed()["id"]
    found = [int(row[1].rpartition("/")[2]) for row in await rows(api, identifier)]
    assert sorted(found) == list(range(1500))


async def test_objects_added_during_the_import_are_imported_too(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(identifier) for identifier in range(2500)]
    easydb.total = lambda offset: 1500 if offset == 0 else 2500
    identifier = (await create(api, "Coins")).pushed()["id"]
    assert (await api.info(identifier))["number_of_images"] == 2500


async def test_objects_removed_during_the_import_are_not_an_error(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(identifier) for identifier in range(1400)]
    easydb.total = lambda offset: 1500 if offset == 0 else 1400
    identifier = (await create(api, "Coins")).pushed()["id"]
    assert (await api.info(identifier))["number_of_images"] == 1400


async def test_fewer_objects_than_announced_are_a_502(api: Api, easydb: EasyDb) -> None:
    easydb.objects = [thing(identifier) for identifier in range(1400)]
    easydb.total = lambda _: 1500
    await assert_refused_without_change(api, "heidicon_incomplete")


async def test_more_objects_than_the_row_limit_are_refused(launch: Launch, easydb: EasyDb) -> None:
    api = await launch(heidicon_url=easydb.url, max_csv_rows=10)
    easydb.objects = [thing(identifier) for identifier in range(11)]
    before = (await api.get("/api/collection/list")).json
    (await create(api, "Coins")).refused(413, "too_large")
    easydb.objects = [thing(1, *[{"full": version(f"https://a/{n}")} for n in range(11)])]
    (await create(api, "Coins")).refused(413, "too_large")
    assert (await api.get("/api/collection/list")).json == before


async def test_an_oversized_answer_is_a_502(launch: Launch, easydb: EasyDb) -> None:
    api = await launch(heidicon_url=easydb.url, heidicon_page_bytes=100_000)
    easydb.objects = [thing(identifier) for identifier in range(PAGE)]
    await assert_refused_without_change(api, "heidicon_bad_answer")
