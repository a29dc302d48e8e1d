"""What a client is told that misses by little: where the key belongs, which route it meant, what was ignored."""

import pytest

from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW = b"https://example.org/1.jpg,https://repo.example.org/1\n"


@pytest.mark.parametrize(
    ("method", "path", "suggestion"),
    [
        ("GET", "/api/collection/list/", "GET /api/collection/list"),
        ("POST", "/api/collection/1/search/", "POST /api/collection/1/search"),
        ("GET", "//api//collection/list", "GET /api/collection/list"),
        ("GET", "/collection/list", "GET /api/collection/list"),
        ("POST", "/collection/1/search", "POST /api/collection/1/search"),
        ("GET", "/collection/1/info/", "GET /api/collection/1/info"),
        ("POST", "/verify", "POST /api/verify"),
        ("GET", "/api/collection/1", "GET /api/collection/1/info"),
        ("DELETE", "/api/collection/1", "POST /api/collection/1/delete"),
        ("PUT", "/api/collections/1", "POST /api/collection/1/updatename"),
        ("POST", "/api/collections", "POST /api/collection/create"),
        ("GET", "/api/Collection/7/Info", "GET /api/collection/7/info"),
        ("GET", "/api/list", "GET /api/collection/list"),
        ("GET", "/collection/1/", "GET /api/collection/1/info"),
        ("GET", "/api/collections", "GET /api/collection/list"),
        ("GET", "/api/collections/7/info", "GET /api/collection/7/info"),
        ("GET", "/api/collection", "GET /api/collection/list"),
        ("GET", "/api", "GET /api/collection/list"),
        ("POST", "/api/collection/3/fine-tune", "POST /api/collection/3/finetune"),
        ("POST", "/api/collection/3/update_content", "POST /api/collection/3/updatecontent"),
        ("GET", "/api/collection/3/search/", "POST /api/collection/3/search"),
        ("HEAD", "/healthz/", None),
        ("GET", "/healthz/", "GET /healthz"),
    ],
)
async def test_a_route_that_is_missed_by_little_is_suggested(
    api: Api, method: str, path: str, suggestion: str | None
) -> None:
    answer = await api.call(method, path)
    if method == "HEAD":
        assert (answer.status, answer.body) == (404, b"")
        return
    assert f"Did you mean {suggestion}?" in answer.refused(404, "route_not_found")["message"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/x/y/z", "/favicon.ico", "/" + "x" * 500, "/a%0Ab%1B", "/api/collection/1/xyz"]
)
async def test_nothing_is_suggested_where_nothing_is_similar(api: Api, path: str) -> None:
    message = (await api.get(path)).refused(404, "route_not_found")["message"]
    assert "Did you mean" not in message
    assert message.isprintable()


async def test_a_wrong_method_is_told_which_one_is_right(api: Api) -> None:
    identifier = await api.create()
    for method, path, right in (
        *(("GET", f"{identifier}/{action}", "POST") for action in ("search", "updatename", "updatecontent", "delete")),
        *(("GET", f"{identifier}/{action}", "POST") for action in ("finetune", "finetune/cancel")),
        *((method, f"{identifier}/info", "GET") for method in ("POST", "PUT", "DELETE", "PATCH")),
        ("POST", f"{identifier}/csvfile", "GET"),
        ("POST", "list", "GET"),
        ("GET", "create", "POST"),
    ):
        answer = await api.call(method, f"/api/collection/{path}")
        problem = answer.refused(405, "method_not_allowed")
        assert problem["message"] == f"{method} is not allowed for /api/collection/{path}. Use {right}."
        assert right in answer.headers["Allow"]
    head = await api.call("HEAD", f"/api/collection/{identifier}/search")
    assert (head.status, head.body) == (405, b"")


@pytest.mark.parametrize(
    ("headers", "query", "part"),
    [
        ({}, "", "Send it in the header API-Key."),
        ({"API-Key": ""}, "", "Send it in the header API-Key."),
        ({"Authorization": "Bearer 1.x"}, "", "in the header API-Key, not in Authorization"),
        ({"X-API-Key": "1.x"}, "", "in the header API-Key, not in X-API-Key"),
        ({}, "?api_key=1.x", "in the header API-Key, not in the URL"),
        ({}, "?api-key=1.x", "in the header API-Key, not in the URL"),
    ],
)
async def test_a_missing_key_is_told_where_it_belongs(api: Api, headers: dict[str, str], query: str, part: str) -> None:
    problem = (await api.call("POST", f"/api/verify{query}", headers=headers)).refused(403, "forbidden")
    assert problem["message"] == "API key is missing"
    assert part in problem["detail"]


async def test_a_key_with_something_around_it_is_told_so(api: Api) -> None:
    for key in (f"Bearer {api.key}", f'"{api.key}"'):
        problem = (await api.post("/api/verify", key=key)).refused(403, "forbidden")
        assert problem["message"] == "Invalid API key"
        assert "alone" in problem["detail"]
    assert (await api.post("/api/verify", key="1.x")).refused(403, "forbidden")["detail"] == "Invalid API key"


async def test_fields_that_have_no_meaning_are_named(api: Api) -> None:
    created = (await api.post("/api/collection/create?x=1", {"name": "a", "tag": "Coins"})).pushed()
    assert [part in " ".join(created["warnings"]) for part in ('"tag"', "heidicon_tag", '"x"')] == [True] * 3
    path = f"/api/collection/{created['id']}"
    renamed = (await api.post(f"{path}/updatename", {"name": "b", "title": "c"})).pushed()
    assert '"title"' in renamed["warnings"][0]
    uploaded = (
        await api.post(f"{path}/updatecontent", {"content": "aHR0cHM6Ly9hL2IsYw==", "csv": 1, "sep": ";"})
    ).pushed()
    assert all(part in uploaded["warnings"][0] for part in ('"csv"', '"sep"', "content"))
    finetune = (await api.post(f"{path}/finetune?refres=true", {"force": True, "epochs": 3})).pushed()
    assert [part in " ".join(finetune["warnings"]) for part in ("?force=true", '"epochs"', '"refres"')] == [True] * 3
    for answer in (
        await api.get(f"{path}/info?verbose=1"),
        await api.get("/api/collection/list?page=2"),
        await api.get(f"{path}/failures?offset=2"),
        await api.post(f"{path}/finetune/cancel?now=1"),
        await api.post(f"{path}/delete?really=1"),
    ):
        assert len(answer.json["warnings"]) == 1


async def test_nothing_is_warned_about_without_a_reason(api: Api) -> None:
    identifier = await api.create()
    assert "warnings" not in (await api.upload_raw(identifier, ROW)).pushed()
    assert "warnings" not in (await api.post(f"/api/collection/{identifier}/finetune?force=true", {})).pushed()
    assert "warnings" not in await api.info(identifier)
    for body in (b"", b"{", b"force=true"):
        answer = await api.post(f"/api/collection/{identifier}/finetune", data=body)
        assert "warnings" not in answer.pushed()


async def test_one_image_is_counted_as_one(api: Api) -> None:
    identifier = await api.create()
    assert (await api.upload_raw(identifier, ROW)).pushed()["message"] == "Content updated: 1 image"
    assert (await api.upload_raw(identifier, ROW * 2)).pushed()["message"] == "Content updated: 2 images"


@pytest.mark.parametrize(
    ("data", "content_type", "part"),
    [
        (b"name=Coins", "application/x-www-form-urlencoded", "The body is a form"),
        (b'{"name": "Coins"', "application/json", "line 1, column 17"),
        (b"{'name': 'Coins'}", "application/json", "line 1, column 2"),
        (b'["Coins"]', "application/json", "it is a list"),
        (b'"Coins"', "application/json", "it is a string"),
        (b"7", "application/json", "it is a number"),
        (b"null", "application/json", "it is null"),
        (b'{"name": NaN}', "application/json", "NaN"),
        (b'{"name": 1' + b"0" * 5000 + b"}", "application/json", "too many digits"),
        ("{'name': 'Münzen'}".encode("latin-1"), "application/json", "not valid UTF-8"),
        ('{"name": "Coins"}'.encode("utf-16"), "application/json", "it is UTF-16 or UTF-32"),
        ('{"name": "Coins"}'.encode("utf-16-le"), "application/json", "it is UTF-16 or UTF-32"),
        ('{"name": "Coins"}'.encode("utf-16-be"), "application/json", "it is UTF-16 or UTF-32"),
    ],
)
async def test_a_body_that_is_no_object_is_told_what_it_is(api: Api, data: bytes, content_type: str, part: str) -> None:
    answer = await api.post("/api/collection/create", data=data, headers={"Content-Type": content_type})
    assert part in answer.refused(400, "invalid_json")["message"]
