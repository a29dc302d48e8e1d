"""Every example of the specification is true: requests are answered as it says, and problems occur as it says."""

import asyncio
import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict

from catalog.keys.api_keys import ApiKeys
from catalog.keys.permissions import Permissions, Scope
from gateway.config import MIB
from tests.hostile_images.costly import jpeg_of_scans
from tests.integration.databases import new_database
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer
from tests.integration.gateway.conftest import UNREACHABLE, Launch, Parts
from tests.integration.gateway.indexing import Indexer, content, picture
from tests.integration.gateway.specification.conftest import IMAGES, Instance
from tests.specification import DOCUMENT, Node, Operation, follow, operations, validate

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = Path(__file__).read_text(encoding="utf-8")
OPERATIONS = {operation.id: operation for operation in operations()}
# Answered as JSON or as CSV.
TABLES = ("listFailures", "listDuplicates")
# These need an index; the others get a collection that they may change.
# This one needs an image host, which `routes/test_thumbnail_routes.py` has.
NEEDS_A_HOST = "getThumbnail"
INDEXED = ("search", "searchBatch", "similar", "getIndex", "getEmbedding", "listIndexes", "listFailures")
# These need a collection with a source.
SOURCED = ("getSource", "readSource", "cancelReading", "scheduleSource")
# Of the operation `similar`, which needs one of them.
SOURCES = {"image_id", "image_url", "repo_url"}
IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mM8MU2DARtgYsABBqcEADVbAZZJ1mVYAAAAAElFTkSuQmCC"
PDF = base64.b64encode(b"%PDF-1.7 " + b"x" * 100).decode()
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
# These need a part that breaks, and the tests of that part provoke them; or they are general codes for what has none of
# its own. A unit test checks how the gateway writes them.
OCCURRING_ELSEWHERE = {
    *("content_process_died", "overloaded", "deadline_exceeded", "heidicon_bad_answer", "heidicon_incomplete"),
    *("database_access_denied", "database_missing", "database_tls_failed", "database_unavailable", "internal"),
    *("embedder_not_ready", "embedder_tls_failed", "embedding_failed", "qdrant_key_refused", "qdrant_tls_failed"),
    *("ambiguous_delimiter", "content_is_imported", "content_needs_upload"),
    *("embedder_outdated", "image_not_indexed", "text_not_indexed"),
    *("too_many_collections", "too_many_images"),
    *("body_too_slow", "rate_limited", "too_many_connections"),
    *("image_crashed_decoder", "too_many_costly_images"),
    *("failed_precondition", "invalid_request", "not_found", "unavailable", "upstream_failed", "vectors_damaged"),
}
# Ids, sizes and names differ between an example and what occurs.
VARYING = re.compile(r'"[^"]*"|“[^”]*”|[0-9]+')


def bodies() -> Iterator[tuple[str, str, Any]]:
    """Yield each example of a body: operation, content type, value. The value is None for the bytes of a file."""
    for operation in OPERATIONS.values():
        for kind, described in operation.body.get("content", {}).items():
            for example in described.get("examples", {}).values():
                yield operation.id, kind, follow(example)["value"]
            if "examples" not in described:
                yield operation.id, "image/jpeg" if kind == "image/*" else kind, None


def queries() -> Iterator[tuple[str, str, Any]]:
    """Yield each example of a query parameter: operation, name, value."""
    for operation in OPERATIONS.values():
        for parameter in operation.parameters:
            if parameter["in"] == "query" and operation.id != NEEDS_A_HOST:
                for example in parameter["examples"].values():
                    yield operation.id, parameter["name"], example["value"]


@pytest.mark.parametrize(("name", "kind", "value"), list(bodies()))
async def test_the_example_of_a_body_is_accepted(instance: Instance, name: str, kind: str, value: Any) -> None:
    answer = await call(instance, OPERATIONS[name], body=(kind, value))
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(("name", "parameter", "value"), list(queries()))
async def test_the_example_of_a_query_parameter_is_accepted(
    instance: Instance, name: str, parameter: str, value: Any
) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    answer = await call(instance, OPERATIONS[name], body=first_body(OPERATIONS[name]), query={parameter: text})
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    "name", sorted(name for name, one in OPERATIONS.items() if not one.body and name != NEEDS_A_HOST)
)
async def test_an_operation_without_a_body_answers_as_in_its_example(instance: Instance, name: str) -> None:
    answer = await call(instance, OPERATIONS[name])
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("name", TABLES)
async def test_a_list_is_a_csv_if_the_client_asks_for_one(instance: Instance, name: str) -> None:
    answer = await call(instance, OPERATIONS[name], headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"


async def call(
    instance: Instance,
    operation: Operation,
    *,
    body: tuple[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Call an operation, and check that the answer is one that it describes."""
    path = operation.path.replace("{index_id}", str(instance.index))
    if "{id}" in path:
        collection = await _collection(instance, operation)
        path = path.replace("{id}", str(collection))
        if operation.id in ("getImage", "getEmbedding", "deleteImages"):
            listed = (await instance.api.get(f"/api/collection/{collection}/images")).json["images"]
            path = path.replace("{image_id}", str(listed[0]["image_id"]))
            body = body and (body[0], {"image_ids": [listed[0]["image_id"]]})
    parameters = dict(query or {})
    if operation.id == "similar" and not parameters.keys() & SOURCES:
        parameters["image_id"] = "1"
    if operation.id in ("search", "searchBatch", "similar"):
        # The examples have the ids of a new installation.
        listed = (await instance.api.get(f"/api/collection/{instance.collection}/images")).json["images"]
        parameters = existing(parameters, listed[0]["image_id"])
        body = body and (body[0], existing(body[1], listed[0]["image_id"]))
    options: dict[str, Any] = {"params": parameters, "headers": {"API-Key": instance.api.key, **(headers or {})}}
    if body is not None:
        kind, value = body
        if kind == "multipart/form-data":
            options["data"] = aiohttp.FormData()
            options["data"].add_field(
                "file", content(range(2)) if operation.id != "search" else picture(1), filename="a"
            )
        else:
            options["headers"]["Content-Type"] = kind
            text = json.dumps(value) if kind == "application/json" else value
            options["data"] = picture(1) if value is None else text.encode()
    answer = await instance.api.call(operation.method, path, **options)
    conforms(operation, answer)
    return answer


def existing(value: Any, first: int) -> Any:
    """Return an example with ids of images that exist. first: the id of the first image."""
    if isinstance(value, list):
        return [existing(each, first) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: int(each) + first - 1 if name == "image_id" and int(each) <= IMAGES else existing(each, first)
        for name, each in value.items()
    }


async def _collection(instance: Instance, operation: Operation) -> int:
    if operation.id in INDEXED:
        return instance.collection
    if operation.id in SOURCED:
        source = {"type": "iiif", "url": "https://library.example.org/manifest.json"}
        answer = await instance.api.post("/api/collection/create", {"name": "for an example", "source": source})
        created: int = answer.json["id"]
        return created
    identifier = await instance.api.create("for an example")
    (await instance.api.upload(identifier, content(range(3)))).pushed()
    return identifier


def first_body(operation: Operation) -> tuple[str, Any] | None:
    return next(((kind, value) for name, kind, value in bodies() if name == operation.id), None)


def conforms(operation: Operation, answer: Answer) -> None:
    """Assert that the operation describes the answer: its status, headers, content type, fields, and one like it."""
    described = operation.responses[str(answer.status)]
    missing = {name for name in described["headers"] if name not in answer.headers}
    # As JSON these are no downloads.
    assert missing <= ({"Content-Disposition"} if operation.id in TABLES else set())
    kind = answer.headers["Content-Type"].partition(";")[0]
    form = described["content"][kind]
    if not kind.endswith("json"):
        return
    validate(form["schema"], answer.json)
    if operation.id != "getOpenapiJson":
        assert shape(answer.json) in [shape(follow(example)["value"]) for example in form["examples"].values()]


def shape(value: Any) -> Any:
    """Return the names of an object's fields, without `warnings`; for a list, those of its first object."""
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return set(value) - {"warnings"} if isinstance(value, dict) else type(value)


def occurs(answer: Answer, code: str) -> None:
    """Assert that an answer is the problem of this code, worded as in its example."""
    example = DOCUMENT["components"]["examples"][code]["value"]
    problem = answer.refused(example["status"], code)
    for name in ("title", "detail", "message"):
        assert VARYING.sub("…", problem[name]) == VARYING.sub("…", example[name]), name


def option(name: str, value: object) -> dict[str, Any]:
    """Return the body of a search with an option."""
    return {"json": {"image": IMAGE, name: value}}


BAD_REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "collection_empty": ("POST", "/api/collection/{empty}/finetune", {}),
    "content_missing": ("POST", "/api/collection/{id}/updatecontent", {"json": {"contents": ""}}),
    "decode_error": ("POST", "/api/collection/{id}/search", {"data": picture(0)[:-500]}),
    "empty_content": ("POST", "/api/collection/{id}/updatecontent", {"data": b""}),
    "forbidden": ("POST", "/api/verify", {"headers": {}}),
    "heidicon_tag_unknown": ("POST", "/api/collection/create", {"json": {"name": "a", "heidicon_tag": "coins?"}}),
    "image_missing": ("POST", "/api/collection/{id}/search", {"json": {}}),
    "index_not_found": ("GET", "/api/collection/{id}/indexes/999999", {}),
    "invalid_after": ("GET", "/api/collection/{id}/failures?after=x", {}),
    "invalid_allow_empty": ("POST", "/api/collection/{id}/updatecontent?allow_empty=yes", {}),
    "invalid_base64": ("POST", "/api/collection/{id}/search", {"json": {"image": "!"}}),
    "invalid_body": ("POST", "/api/collection/{id}/search", {"data": gzip.compress(b"a")[:-1], "encoding": "gzip"}),
    "invalid_collections": ("POST", "/api/search", {"json": {"image": IMAGE, "collections": []}}),
    "invalid_csv": ("POST", "/api/collection/{id}/updatecontent", {"data": b"http://a.example/1,b\nhttp://a.example/2,b,c"}),
    "invalid_force": ("POST", "/api/collection/{id}/finetune?force=yes", {}),
    "invalid_full": ("POST", "/api/collection/{source}/source/read?full=yes", {}),
    "invalid_format": ("GET", "/api/collection/{id}/similar?image_id=1&format=xml", {}),
    "invalid_form": ("POST", "/api/collection/{id}/search", {"data": b"--x\r\n\r\na\r\n--x--\r\n", "headers": FORM}),
    "invalid_source": ("POST", "/api/collection/create", {"json": {"name": "a", "source": {}}}),
    "no_source": ("POST", "/api/collection/{id}/source/read", {}),
    "invalid_heidicon_tag": ("POST", "/api/collection/create", {"json": {"name": "a", "heidicon_tag": []}}),
    "conflicting_fields": ("POST", "/api/collection/{id}/search", option("image_url", "https://images.example.org/1.jpg")),
    "examples_cancel_out": (
        *("POST", "/api/collection/{id}/search"),
        {"json": {"examples": [{"image": IMAGE}, {"image": IMAGE, "weight": -1}]}},
    ),
    "image_too_slow": ("POST", "/api/collection/{id}/search", {"data": jpeg_of_scans(5000, 4000)}),
    "image_url_not_allowed": (
        *("POST", "/api/collection/{id}/search"),
        {"json": {"image_url": "https://images.example.org/1.jpg"}},
    ),
    "invalid_image_ids": ("POST", "/api/collection/{id}/images/delete", {"json": {"image_ids": []}}),
    "invalid_images": ("POST", "/api/collection/{id}/images", {"json": {"images": []}}),
    "invalid_size": ("GET", "/api/collection/{id}/images/1/thumbnail?size=medium", {}),
    "thumbnails_not_served": ("GET", "/api/collection/{id}/images/1/thumbnail", {}),
    "invalid_state": ("GET", "/api/collection/{id}/images?state=x", {}),
    "image_not_found": ("POST", "/api/collection/{id}/search", {"json": {"image_id": 999999}}),
    "invalid_examples": ("POST", "/api/collection/{id}/search", {"json": {"examples": []}}),
    "invalid_exclude": ("POST", "/api/collection/{id}/search", option("exclude", [0])),
    "invalid_exclude_self": ("POST", "/api/collection/{id}/search", option("exclude_self", 1)),
    "invalid_group_by": ("POST", "/api/collection/{id}/search", option("group_by", "name")),
    "invalid_image_id": ("POST", "/api/collection/{id}/search", {"json": {"image_id": 0}}),
    "invalid_image_url": ("POST", "/api/collection/{id}/search", {"json": {"image_url": ""}}),
    "invalid_offset": ("POST", "/api/collection/{id}/search", option("offset", -1)),
    "invalid_region": ("POST", "/api/collection/{id}/search", option("region", {"x": 0.5})),
    "invalid_text": ("POST", "/api/collection/{id}/search", {"json": {"text": ""}}),
    "text_not_supported": ("POST", "/api/collection/{id}/search", {"json": {"text": "a coin"}}),
    "invalid_json": ("POST", "/api/collection/create", {"json": []}),
    "invalid_kind": ("GET", "/api/collection/{id}/duplicates?kind=similar", {}),
    "invalid_limit": ("GET", "/api/collection/{id}/failures?limit=0", {}),
    "invalid_max_false_match_rate": ("POST", "/api/collection/{id}/search", option("max_false_match_rate", 2)),
    "invalid_min_percentile": ("POST", "/api/collection/{id}/search", option("min_percentile", 101)),
    "invalid_name": ("POST", "/api/collection/create", {"json": {"name": ""}}),
    "invalid_num_results": ("POST", "/api/collection/{id}/search", option("num_results", 0)),
    "invalid_queries": ("POST", "/api/collection/{id}/search/batch", {"json": {"queries": []}}),
    "invalid_repo_url": ("GET", "/api/collection/{id}/similar?repo_url=", {}),
    "invalid_refresh": ("POST", "/api/collection/{id}/finetune?refresh=yes", {}),
    "invalid_revision": ("GET", "/api/collection/{id}/csvfile?revision=0", {}),
    "invalid_weight": ("POST", "/api/collection/{id}/search", {"json": {"examples": [{"image": IMAGE, "weight": 0}]}}),
    "invalid_threshold": ("POST", "/api/collection/{id}/search", option("threshold", -5)),
    "method_not_allowed": ("DELETE", "/api/collection/{id}/info", {}),
    "not_an_image": ("POST", "/api/collection/{id}/search", {"json": {"image": PDF}}),
    "not_finetuned": ("POST", "/api/collection/{empty}/search", {"json": {"image": IMAGE}}),
    "revision_not_found": ("GET", "/api/collection/{id}/csvfile?revision=9", {}),
    "route_not_found": ("GET", "/api/collection/{id}/infos", {}),
    "unsupported_encoding": ("POST", "/api/collection/create", {"data": b"a", "encoding": "br"}),
}  # fmt: skip


@pytest.mark.parametrize("code", BAD_REQUESTS)
async def test_the_example_of_a_problem_occurs(instance: Instance, code: str) -> None:
    method, path, options = BAD_REQUESTS[code]
    empty = await instance.api.create("empty") if "{empty}" in path else 0
    headers = (
        options.get("headers", {})
        if code == "forbidden"
        else {"API-Key": instance.api.key} | options.get("headers", {})
    )
    if "encoding" in options:
        headers["Content-Encoding"] = options["encoding"]
    sent = {name: value for name, value in options.items() if name in ("json", "data")}
    sourced = await _collection(instance, OPERATIONS["getSource"]) if "{source}" in path else 0
    path = path.replace("{id}", str(instance.collection)).replace("{empty}", str(empty))
    path = path.replace("{source}", str(sourced))
    occurs(await instance.api.call(method, path, headers=headers, **sent), code)


async def test_collections_and_indexes_that_cannot_be_used_get_their_problems(
    instance: Instance, indexer: Indexer
) -> None:
    api = instance.api
    identifier = await api.create()
    (await api.post(f"/api/collection/{identifier}/delete")).pushed()
    occurs(await api.get(f"/api/collection/{identifier}/info"), "collection_not_found")
    identifier = await api.create()
    await api.upload(identifier, content(range(3)))
    path = f"/api/collection/{identifier}/search"
    index = await indexer.index(identifier)
    occurs(await api.post(path, {"image": IMAGE, "max_false_match_rate": 0.1}), "not_calibrated")
    await indexer.generations.drop(index.qdrant_collection)
    occurs(await api.post(path, {"image": IMAGE}), "vectors_missing")
    other = await api.create()
    await api.upload(other, content(range(3)))
    old = await indexer.index(other)
    async with indexer.database.connection() as connection:
        await connection.execute("UPDATE indexes SET backbone = 'another' WHERE id = $1", old.id)
    occurs(await api.post(f"/api/collection/{other}/search", {"image": IMAGE}), "backbone_changed")


async def test_limits_get_their_problems(
    launch: Launch, instance: Instance, embedder: RunningEmbedder, tmp_path: Path
) -> None:
    api = await launch(
        embedder_address=embedder.target,
        max_image_bytes=MIB,
        max_csv_bytes=MIB,
    )
    path = f"/api/collection/{instance.collection}"
    occurs(await api.post(f"{path}/search", data=bytes(MIB + 1)), "image_too_large")
    occurs(await api.upload_raw(instance.collection, bytes(MIB + 1)), "too_large")
    api = await launch(data_directory=tmp_path, min_free_disk_bytes=1 << 60)
    occurs(await api.post(f"{path}/finetune"), "no_space")


async def test_parts_that_are_down_get_their_problems(
    launch: Launch, parts: Parts, instance: Instance, embedder: RunningEmbedder
) -> None:
    path = f"/api/collection/{instance.collection}/search"
    api = await launch()
    occurs(await api.post(path, {"image": IMAGE}), "embedder_unavailable")
    api = await launch(
        embedder_address=embedder.target, qdrant_address=UNREACHABLE, heidicon_url=f"http://{UNREACHABLE}"
    )
    occurs(await api.post(path, {"image": IMAGE}), "qdrant_unavailable")
    occurs(await api.post("/api/collection/create", {"name": "a", "heidicon_tag": "Coins"}), "heidicon_unavailable")
    async with new_database(parts.database_url, migrated=False) as url:
        occurs(await (await launch(database_url=url)).get("/api/collection/list"), "schema_missing")


async def test_broken_http_gets_its_problem(instance: Instance) -> None:
    host, _, port = instance.api.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/9.9\r\n\r\n")
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    example: Node = DOCUMENT["components"]["examples"]["invalid_http"]["value"]
    assert {**json.loads(body), "request_id": ""} == {**example, "request_id": ""}


async def test_keys_that_do_not_allow_a_request_get_their_problems(instance: Instance, indexer: Indexer) -> None:
    api, keys = instance.api, ApiKeys(indexer.database)
    key = await keys.create("reader", Permissions(Scope.READ))
    path = f"/api/collection/{instance.collection}/finetune"
    occurs(await api.post(path, key=key), "key_not_allowed")
    key = await keys.create("old", Permissions(Scope.ADMIN, expires_at=datetime.now(UTC) - timedelta(days=1)))
    occurs(await api.post(path, key=key), "key_expired")
    headers = CIMultiDict([("API-Key", key), ("API-Key", key)])
    occurs(await api.call("POST", path, headers=headers), "several_keys")


async def test_every_problem_occurs_in_a_test() -> None:
    problems = {name for name, example in DOCUMENT["components"]["examples"].items() if "code" in example["value"]}
    occurring = (
        set(BAD_REQUESTS) | set(re.findall(r'occurs\(.*"([a-z_]+)"\)$', SOURCE, re.MULTILINE)) | {"invalid_http"}
    )
    assert problems - occurring == OCCURRING_ELSEWHERE
