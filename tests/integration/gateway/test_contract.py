"""The REST contract, route by route: fields and codes, and that a refused request changes nothing."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from tests.integration.gateway.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")

CSV = b"https://example.org/1.jpg,https://repo.example.org/1\nhttps://example.org/2.jpg,https://repo.example.org/1\n"
WRITES = ("updatename", "updatecontent", "finetune", "delete")
READS = (("GET", "info"), ("GET", "csvfile"), ("POST", "search"))
BAD_IDS = (
    *("0", "-1", "999999999", "9223372036854775807", "9223372036854775808", "9" * 400, "abc", "1.0", "1e3", "+1"),
    *("%20", "01", "%D9%A1", "null", "1%00", "%F0%9F%98%80", "'; DROP TABLE collections; --", "", "{id}", "%7Bid%7D"),
)


async def test_list_has_ids_and_names_in_the_order_of_ids(api: Api) -> None:
    first, second = await api.create("b"), await api.create("a")
    answer = await api.get("/api/collection/list")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert set(answer.json) == {"ids", "names"}
    assert answer.json["ids"] == sorted(answer.json["ids"])
    assert [entry["id"] for entry in answer.json["names"]] == answer.json["ids"]
    assert {"value": first, "id": first, "name": "b"} in answer.json["names"]
    assert {"value": second, "id": second, "name": "a"} in answer.json["names"]


async def test_info_of_a_new_collection(api: Api) -> None:
    identifier = await api.create("Münzen")
    info = await api.info(identifier)
    modified = info.pop("last_modified")
    assert info == {
        "id": identifier,
        "name": "Münzen",
        "number_of_images": 0,
        "number_of_indexed_images": 0,
        "number_of_failures": 0,
        "requires_finetuning": True,
        "last_finetuned": None,
        "finetuning_progess": None,
        "heidicon_tag": None,
        "finetuning_state": "never",
        "finetuning_phase": None,
        "finetuning_counts": None,
        "finetuning_seconds_left": None,
        "finetuning_error": None,
        "finetuning_paced_by": [],
        "finetuning_warnings": [],
        "quality": None,
        "source": None,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", modified)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(modified)) < timedelta(minutes=1)


async def test_a_new_collection_has_an_empty_csv(api: Api) -> None:
    answer = await api.get(f"/api/collection/{await api.create('empty')}/csvfile")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == "attachment; filename=empty.csv"
    assert answer.headers["Content-Length"] == "0"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("coins", "attachment; filename=coins.csv"),
        ("Roman coins", 'attachment; filename="Roman coins.csv"'),
        ("a+b-c_d.e~f", "attachment; filename=a+b-c_d.e~f.csv"),
        ("a=b", 'attachment; filename="a=b.csv"'),
        ("Münzen", "attachment; filename=M_nzen.csv; filename*=UTF-8''M%C3%BCnzen.csv"),
        ("Alte Münzen", "attachment; filename=\"Alte M_nzen.csv\"; filename*=UTF-8''Alte%20M%C3%BCnzen.csv"),
        ("“A”/B", "attachment; filename=_A__B.csv; filename*=UTF-8''%E2%80%9CA%E2%80%9D_B.csv"),
        ('a"b\\c;d', 'attachment; filename="a_b_c;d.csv"'),
        ("100%", "attachment; filename=100_.csv; filename*=UTF-8''100%25.csv"),
        ("..", "attachment; filename=_.csv"),
    ],
)  # fmt: skip
async def test_the_csv_file_is_named_after_the_collection(api: Api, name: str, header: str) -> None:
    answer = await api.get(f"/api/collection/{await api.create(name)}/csvfile")
    assert answer.headers["Content-Disposition"] == header


async def test_create_returns_the_id_and_a_message(api: Api) -> None:
    created = (await api.post("/api/collection/create", {"name": "new"})).pushed()
    assert set(created) == {"id", "message", "message_type"}
    assert isinstance(created["id"], int)


async def test_ids_are_never_reused(api: Api) -> None:
    first = await api.create()
    (await api.post(f"/api/collection/{first}/delete")).pushed()
    assert await api.create() > first


@pytest.mark.parametrize("name", ["x", "x" * 200, " padded ", "名前", "😀", "<script>", "a\u200db"])
async def test_a_name_is_stored_exactly_as_it_was_sent(api: Api, name: str) -> None:
    assert (await api.info(await api.create(name)))["name"] == name


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "  "}, {"name": None}, {"name": 7}, {"name": ["a"]}, {"name": "x" * 201},
     {"name": "a\0b"}, {"name": "a\nb"}, {"name": "a\x1bb"}, {"name": "\ud800"}, {"name": "a\u2028b"}],
)  # fmt: skip
async def test_a_bad_name_is_refused(api: Api, body: dict[str, Any]) -> None:
    identifier = await api.create("old")
    before = (await api.get("/api/collection/list")).json
    (await api.post("/api/collection/create", body)).refused(400, "invalid_name")
    (await api.post(f"/api/collection/{identifier}/updatename", body)).refused(400, "invalid_name")
    assert (await api.get("/api/collection/list")).json == before


@pytest.mark.parametrize("data", [b"{", b"[]", b"7", b'"a"', b"\xff", b"null", b'{"name": NaN}', b"[" * 60_000])
async def test_a_body_that_is_not_a_json_object_is_refused(api: Api, data: bytes) -> None:
    identifier = await api.create("old")
    before = (await api.get("/api/collection/list")).json
    for path in ("create", f"{identifier}/updatename"):
        (await api.post(f"/api/collection/{path}", data=data)).refused(400, "invalid_json")
    answer = await api.post(f"/api/collection/{identifier}/updatecontent", data=data)
    answer.refused(400, "invalid_json" if data.startswith(b"{") else "invalid_csv")
    assert (await api.get("/api/collection/list")).json == before


async def test_updatename_changes_only_the_name(api: Api) -> None:
    identifier = await api.create("old")
    (await api.upload(identifier, CSV)).pushed()
    before = await api.info(identifier)
    answer = (await api.post(f"/api/collection/{identifier}/updatename", {"name": "new"})).pushed()
    assert set(answer) == {"message", "message_type"}
    assert await api.info(identifier) == {**before, "name": "new"}


async def test_updatecontent_returns_the_number_of_images(api: Api) -> None:
    identifier = await api.create()
    answer = (await api.upload(identifier, CSV)).pushed()
    assert set(answer) == {"message", "message_type", "number_of_images"}
    assert answer["number_of_images"] == 2
    assert (await api.info(identifier))["number_of_images"] == 2


async def test_last_modified_is_when_the_content_changed(api: Api, database: Database) -> None:
    identifier = await api.create()
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE collections SET last_modified = '2020-02-03 04:05:06.9' WHERE id = $1", identifier
        )
    assert (await api.info(identifier))["last_modified"] == "2020-02-03T04:05:06Z"
    (await api.upload(identifier, CSV)).pushed()
    modified = datetime.fromisoformat((await api.info(identifier))["last_modified"])
    assert abs(datetime.now(UTC) - modified) < timedelta(minutes=1)


async def test_updatecontent_accepts_a_csv_as_the_body(api: Api) -> None:
    identifier = await api.create()
    answer = (await api.upload_raw(identifier, CSV, headers={"Content-Type": "Text/CSV; charset=UTF-8"})).pushed()
    assert answer["number_of_images"] == 2
    assert await api.csv(identifier) == CSV


async def test_uploading_the_same_bytes_again_changes_nothing(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, CSV)
    before = await api.info(identifier)
    assert (await api.upload(identifier, CSV)).pushed()["number_of_images"] == 2
    assert (await api.upload_raw(identifier, CSV)).pushed()["number_of_images"] == 2
    assert await api.info(identifier) == before


@pytest.mark.parametrize("content", ["not base64!", "QQ", "Q===", "QUJ", "é", 7, ["QQ=="], {"a": 1}])
async def test_content_that_is_not_base64_is_refused(api: Api, content: Any) -> None:
    identifier = await api.create()
    await api.upload(identifier, CSV)
    before = await api.info(identifier)
    answer = await api.post(f"/api/collection/{identifier}/updatecontent", {"content": content})
    code = "invalid_csv" if content in ("QQ", "QUJ") else "invalid_base64"
    answer.refused(400, code)
    assert await api.info(identifier) == before
    assert await api.csv(identifier) == CSV


async def test_missing_content_is_refused(api: Api) -> None:
    identifier = await api.create()
    for body in ({}, {"contents": ""}, {"content": None}, {"a": {"content": "QQ=="}}):
        answer = await api.post(f"/api/collection/{identifier}/updatecontent", body)
        answer.refused(400, "content_missing")


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
async def test_content_may_be_base64_in_any_form(api: Api, encode: Any) -> None:
    csv = "https://example.org/ÿþ~~~???.jpg,https://repo/1\r\n".encode() * 5
    identifier = await api.create()
    for content in (encode(csv).decode(), encode(csv).decode().rstrip("=\n")):
        await api.clear(identifier)
        answer = await api.post(f"/api/collection/{identifier}/updatecontent", {"content": content, "other": [1, "x"]})
        assert answer.pushed()["number_of_images"] == 5
        assert await api.csv(identifier) == csv


@pytest.mark.parametrize("identifier", BAD_IDS)
async def test_an_unknown_or_malformed_id_gets_400(api: Api, identifier: str) -> None:
    for method, action in READS:
        options = {"json": {"image": "QUJD"}} if method == "POST" else {}
        answer = await api.call(method, f"/api/collection/{identifier}/{action}", **options)
        answer.refused(400, "collection_not_found")
    for action in WRITES:
        answer = await api.post(f"/api/collection/{identifier}/{action}", {"name": "n", "content": ""})
        answer.refused(400, "collection_not_found")


async def test_a_deleted_collection_disappears_at_once(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, CSV)
    deleted = (await api.post(f"/api/collection/{identifier}/delete")).pushed()
    assert set(deleted) == {"message", "message_type"}
    assert identifier not in (await api.get("/api/collection/list")).json["ids"]
    for method, action in READS:
        options = {"json": {"image": "QUJD"}} if method == "POST" else {}
        answer = await api.call(method, f"/api/collection/{identifier}/{action}", **options)
        answer.refused(400, "collection_not_found")
    for action in WRITES:
        answer = await api.post(f"/api/collection/{identifier}/{action}", {"name": "n", "content": ""})
        answer.refused(400, "collection_not_found")


async def test_asking_for_a_finetune_twice_returns_the_same_job(api: Api) -> None:
    identifier = await api.create()
    await api.upload(identifier, CSV)
    answer = (await api.post(f"/api/collection/{identifier}/finetune")).pushed()
    assert set(answer) == {"job_id", "message", "message_type"}
    assert isinstance(answer["job_id"], int)
    again = (await api.post(f"/api/collection/{identifier}/finetune?force=true")).pushed()
    assert again["job_id"] == answer["job_id"]
    info = await api.info(identifier)
    assert (info["finetuning_state"], info["finetuning_progess"]) == ("queued", 0.0)


async def test_finetune_of_an_empty_collection_is_refused(api: Api) -> None:
    identifier = await api.create()
    (await api.post(f"/api/collection/{identifier}/finetune")).refused(400, "collection_empty")
    (await api.post(f"/api/collection/{identifier}/finetune?force=maybe")).refused(400, "invalid_force")
    assert (await api.info(identifier))["finetuning_state"] == "never"


async def test_verify_tells_whether_the_key_is_valid(api: Api, database: Database) -> None:
    (await api.post("/api/verify")).pushed()
    keys = ApiKeys(database)
    key = await keys.create("short-lived")
    (await api.post("/api/verify", key=key)).pushed()
    assert await keys.revoke(int(key.partition(".")[0]))
    (await api.post("/api/verify", key=key)).refused(403, "forbidden")


async def test_messages_that_existing_clients_know_stay_the_same(api: Api) -> None:
    """The existing web client compares the one of `verify`, and shows the others."""

    async def message(path: str, body: dict[str, Any] | None = None, key: str | None = "") -> str:
        found: str = (await api.post(f"/api/{path}", body, key=key)).json["message"]
        return found

    assert await message("verify") == "API key is valid"
    assert await message("verify", key="wrong") == "Invalid API key"
    assert await message("verify", key=None) == "API key is missing"
    assert await message("collection/create", {"name": "a"}) == "Collection created"
    identifier = await api.create()
    await api.upload(identifier, CSV)
    assert await message(f"collection/{identifier}/updatename", {"name": "b"}) == "Collection updated"
    assert await message(f"collection/{identifier}/finetune") == "Model finetuning started"
    assert await message(f"collection/{identifier}/delete") == "Collection deleted"


async def test_a_refusal_names_the_field_and_what_is_allowed(api: Api) -> None:
    for value, allowed in ((5, "string"), ("x" * 201, "200")):
        problem = (await api.post("/api/collection/create", {"name": value})).refused(400, "invalid_name")
        assert "name" in problem["message"]
        assert allowed in problem["message"]


@pytest.mark.parametrize("key", [None, "x", "1.", ".x", "1.wrong", "9" * 500 + ".x", "é.é", "0.0", "-1.x"])
async def test_nothing_changes_without_a_valid_key(api: Api, key: str | None) -> None:
    identifier = await api.create("kept")
    await api.upload(identifier, CSV)
    before, listed = await api.info(identifier), (await api.get("/api/collection/list")).json
    for path in ("/api/verify", "/api/collection/create", *(f"/api/collection/{identifier}/{one}" for one in WRITES)):
        (await api.post(path, {"name": "changed", "content": ""}, key=key)).refused(403, "forbidden")
    assert await api.info(identifier) == before
    assert (await api.get("/api/collection/list")).json == listed


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/collection", "/nowhere", "/api/collection/1/2/3", "/%2e%2e/x"])
async def test_an_unknown_route_gets_404(api: Api, path: str) -> None:
    for method in ("GET", "POST"):
        (await api.call(method, path)).refused(404, "route_not_found")


async def test_a_wrong_method_gets_405_with_the_allowed_ones(api: Api) -> None:
    answer = await api.call("DELETE", "/api/collection/list")
    answer.refused(405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
    (await api.get("/api/verify")).refused(405, "method_not_allowed")


async def test_head_is_get_without_a_body(api: Api) -> None:
    identifier = await api.create("head")
    await api.upload(identifier, CSV)
    for path in ("list", f"{identifier}/info", f"{identifier}/csvfile"):
        answer = await api.call("HEAD", f"/api/collection/{path}")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Length"] == (await api.get(f"/api/collection/{path}")).headers["Content-Length"]


async def test_a_request_id_is_kept_or_generated(api: Api) -> None:
    kept = await api.get("/api/collection/0/info", headers={"X-Request-Id": "my-id-7"})
    assert kept.refused(400, "collection_not_found")["request_id"] == "my-id-7"
    made = await api.get("/api/collection/list")
    assert len(made.headers["X-Request-Id"]) >= 16
    for bad in ("x" * 129, "é"):
        answer = await api.get("/api/collection/list", headers={"X-Request-Id": bad})
        assert answer.headers["X-Request-Id"] != bad


async def test_pages_of_any_origin_may_call_by_default(api: Api) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = await api.call("OPTIONS", "/api/collection/1/search", headers=asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert {"API-Key", "Content-Type"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    for names in ("api-key,authorization,x-requested-with", "X-API-Key"):
        preflight = await api.call("OPTIONS", "/api/verify", headers={**asked, "Access-Control-Request-Headers": names})
        assert preflight.headers["Access-Control-Allow-Headers"] == names
        assert "Access-Control-Request-Headers" in preflight.headers["Vary"]
    odd = await api.call("OPTIONS", "/api/verify", headers={**asked, "Access-Control-Request-Headers": "a b; c"})
    assert "API-Key" in odd.headers["Access-Control-Allow-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    for path in ("/api/collection/list", "/api/collection/0/info", "/nowhere"):
        found = await api.get(path, headers={"Origin": "https://a.example"})
        assert found.headers["Access-Control-Allow-Origin"] == "*"
    forbidden = await api.post("/api/verify", key=None, headers={"Origin": "https://a.example"})
    assert forbidden.headers["Access-Control-Allow-Origin"] == "*"
    (await api.call("OPTIONS", "/nowhere")).refused(404, "route_not_found")
