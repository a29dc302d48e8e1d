"""Results by entry, "more like this", batches and searches over several collections, over HTTP."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from catalog.images import Images
from catalog.indexes import Index
from catalog.keys.api_keys import ApiKeys
from catalog.keys.permissions import Permissions, Scope
from catalog.postgres.database import Database
from gateway.app import gateway
from gateway.search import service
from gateway.upstreams.embedder import QueryEmbedder
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer, Api, api_client
from tests.integration.gateway.conftest import Launch, Parts, settings_for
from tests.integration.gateway.indexing import Indexer, image_url, picture
from tests.presentation_schema import assert_valid

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Entries of three pictures each, two pictures without an entry, and picture 3 again: in another entry, and without one.
ENTRIES = {seed: f"https://repo.example.org/{seed // 3}" for seed in range(18)}
ROWS = [*ENTRIES.items(), (18, ""), (19, ""), (3, "https://repo.example.org/copy"), (3, "")]


def entry(number: int | str) -> str:
    return f"https://repo.example.org/{number}"


def encoded(seed: int) -> str:
    return base64.b64encode(picture(seed)).decode()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def serving(embedder: RunningEmbedder, parts: Parts, tmp_path_factory: Any) -> AsyncIterator[Api]:
    settings = settings_for(parts, {"embedder_address": embedder.target}, tmp_path_factory.mktemp("spool"))
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def index(serving: Api, indexer: Indexer) -> Index:
    """Return the index of a collection of ROWS."""
    return await indexed(serving, indexer, ROWS)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def ids(index: Index, database: Database) -> list[int]:
    """Return the ids of the images, by row."""
    page = await Images(database).page(index.collection_id, index.revision, after=0, limit=100)
    return [image.id for image in page]


async def indexed(api: Api, indexer: Indexer, rows: list[tuple[int, str]], **options: Any) -> Index:
    identifier = await api.create("rows")
    (await api.upload(identifier, csv(rows))).pushed()
    return await indexer.index(identifier, **options)


def csv(rows: list[tuple[int, str]]) -> bytes:
    return "".join(f'"{image_url(seed)}",{repo_url}\n' for seed, repo_url in rows).encode()


async def search(api: Api, index: Index, **fields: Any) -> Answer:
    return await api.post(f"/api/collection/{index.collection_id}/search", fields, key=None)


async def similar(api: Api, index: Index, headers: dict[str, str] | None = None, /, **query: Any) -> Answer:
    path = f"/api/collection/{index.collection_id}/similar"
    return await api.get(path, params=query, headers=headers or {})


def best_of_entries(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    best: dict[Any, dict[str, Any]] = {}
    for result in results:
        best.setdefault(result["repo_url"] or result["image_id"], result)
    return list(best.values())


async def test_a_search_for_entries_has_the_best_image_of_each_and_its_views(serving: Api, index: Index) -> None:
    everything = (await search(serving, index, image=encoded(7), num_results=100)).json["results"]
    expected = best_of_entries(everything)
    assert (len(everything), len(expected)) == (22, 10)
    answer = (await search(serving, index, image=encoded(7), num_results=100, group_by="repo_url")).json
    views = {entry("copy"): 1, "": 1} | {entry(number): 3 for number in range(6)}
    assert answer["results"] == [result | {"views": views[result["repo_url"]]} for result in expected]
    assert "next_offset" not in answer
    # As a query parameter, with a body that gets a bare list.
    path = f"/api/collection/{index.collection_id}/search?num_results=4&offset=2&group_by=repo_url"
    assert (await serving.call("POST", path, data=picture(7))).json == answer["results"][2:6]


async def test_pages_of_entries_join_to_the_whole(serving: Api, index: Index, ids: list[int]) -> None:
    question = {"image_id": ids[3], "exclude": [ids[4]], "group_by": "repo_url"}
    whole = (await search(serving, index, **question, num_results=100)).json["results"]
    # The copies of the image that asks are other images. One is in an entry, the other one is not.
    assert {result["image_id"] for result in whole[:2]} == {ids[20], ids[21]}
    assert [result["image_id"] for result in whole if result["repo_url"] == entry(1)] == [ids[5]]
    pages: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        page = (await search(serving, index, **question, num_results=4, offset=offset)).json
        pages += page["results"]
        offset = page.get("next_offset")
    assert pages == whole
    assert len(whole) == 10
    limit = whole[4]["percentile"]
    above = (await search(serving, index, **question, num_results=100, min_percentile=limit)).json["results"]
    assert above == [result for result in whole if result["percentile"] >= limit]


async def test_entries_are_found_beyond_one_with_many_views(
    serving: Api, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = [(0, entry("large"))] * 30 + [(seed, entry("large")) for seed in range(1, 6)]
    index = await indexed(serving, indexer, [*large, (7, entry(7)), (8, entry(8))])
    question = {"image": encoded(0), "group_by": "repo_url", "num_results": 2}
    answer = (await search(serving, index, **question)).json
    first = answer["results"][0]
    assert (first["repo_url"], first["views"]) == (entry("large"), 35)
    assert len(answer["results"]) == 2
    assert answer["next_offset"] == 2
    # With a limit on the images that are read, the answer says that it is incomplete.
    monkeypatch.setattr(service, "MAX_IMAGES_IN_ENTRIES", 20)
    answer = (await search(serving, index, **question)).json
    assert [result["repo_url"] for result in answer["results"]] == [entry("large")]
    assert "grouped" in answer["warnings"][0]
    assert "next_offset" not in answer


async def test_more_like_an_image_embeds_nothing(
    serving: Api, index: Index, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(QueryEmbedder, "embed")
    by_search = (await search(serving, index, image_id=ids[7], num_results=6)).json
    answer = await similar(serving, index, image_id=ids[7], num_results=6)
    assert answer.json == by_search
    # The image URL of a single row is the same image.
    assert (await similar(serving, index, image_url=image_url(7), num_results=6)).json == by_search
    grouped = await similar(serving, index, image_id=ids[7], num_results=3, offset=2, group_by="repo_url")
    whole = (await search(serving, index, image_id=ids[7], group_by="repo_url", num_results=3, offset=2)).json
    assert grouped.json == whole
    least = by_search["results"][2]["percentile"]
    few = await similar(serving, index, image_id=ids[7], min_percentile=least)
    assert few.json["results"] == [each for each in by_search["results"] if each["percentile"] >= least][:5]


async def test_all_rows_of_a_url_are_examples(serving: Api, index: Index, ids: list[int]) -> None:
    views = [ids[row] for row in (6, 7, 8)]
    answer = await similar(serving, index, repo_url=entry(2), num_results=30)
    asked = await search(serving, index, examples=[{"image_id": view} for view in views], num_results=30)
    assert answer.json["results"] == asked.json["results"]
    assert not {result["image_id"] for result in answer.json["results"]} & set(views)
    # Three rows have the image URL of picture 3, and none of them is found.
    found = [result["image_id"] for result in (await similar(serving, index, image_url=image_url(3))).json["results"]]
    assert not set(found) & {ids[3], ids[20], ids[21]}


async def test_a_url_that_the_index_lacks_is_refused(serving: Api, indexer: Indexer) -> None:
    index = await indexed(serving, indexer, [(0, entry("old")), (1, "Inv. 1"), (2, entry("kept"))])
    for unknown in ({"image_url": image_url(5)}, {"repo_url": entry(5)}, {"repo_url": "a\0b"}, {"image_id": 10**15}):
        (await similar(serving, index, **unknown)).refused(400, "image_not_found")
    await serving.upload(index.collection_id, csv([(0, entry("new")), (2, entry("kept")), (5, entry("new"))]))
    for pending in ({"image_url": image_url(5)}, {"repo_url": entry("new")}):
        (await similar(serving, index, **pending)).refused(400, "image_not_indexed")
    # Search serves the previous content, so its rows still name images.
    for known in ({"repo_url": entry("old")}, {"image_url": image_url(1)}, {"repo_url": "Inv. 1"}):
        answer = await similar(serving, index, **known)
        assert (answer.status, len(answer.json["results"])) == (200, 2), known


async def test_a_url_of_too_many_images_is_refused(serving: Api, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_NAMED", 2)
    problem = (await similar(serving, index, repo_url=entry(0))).refused(400, "too_many_images")
    assert "image_id" in problem["message"]


async def test_more_like_this_is_cached_until_the_next_index(serving: Api, indexer: Indexer, parts: Parts) -> None:
    index = await indexed(serving, indexer, [(seed, entry(seed)) for seed in range(4)])
    first = await similar(serving, index, repo_url=entry(1))
    assert first.headers["Cache-Control"] == "max-age=60"
    tag = first.headers["ETag"]
    again = await similar(serving, index, {"If-None-Match": f'"other", W/{tag}'}, repo_url=entry(1))
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    for query in ({"repo_url": entry(2)}, {"repo_url": entry(1), "offset": 1}):
        assert (await similar(serving, index, {"If-None-Match": tag}, **query)).status == 200
    # With a key, credentials are shown, and nothing is kept.
    keyed = await similar(serving, index, {"If-None-Match": tag, "API-Key": parts.key}, repo_url=entry(1))
    assert (keyed.status, keyed.headers["Cache-Control"]) == (200, "no-store")
    newer = await indexer.index(index.collection_id)
    fresh = await similar(serving, index, {"If-None-Match": tag}, repo_url=entry(1))
    assert (fresh.status, fresh.json["index_id"]) == (200, newer.id)


async def merged(api: Api, *, key: str | None = None, **fields: Any) -> Any:
    answer = await api.post("/api/search", fields, key=key)
    assert answer.status == 200, answer.body
    return answer.json


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def three(serving: Api, indexer: Indexer) -> list[Index]:
    """Return the indexes of three collections, whose tuned spaces differ."""
    rows = [[(seed, entry(seed // 2)) for seed in range(first, first + 8)] for first in (0, 4, 8)]
    return [await indexed(serving, indexer, some, seed=number) for number, some in enumerate(rows)]


async def test_a_new_index_is_used_at_once(serving: Api, indexer: Indexer, database: Database) -> None:
    first = await indexed(serving, indexer, ROWS[:6])
    assert (await similar(serving, first, image_url=image_url(0))).json["index_id"] == first.id
    await serving.upload(first.collection_id, csv(ROWS[:8]))
    second = await indexer.index(first.collection_id)
    # Only the new index has this image.
    added = (await Images(database).page(first.collection_id, second.revision, after=0, limit=10))[-1].id
    assert (await similar(serving, first, image_id=added)).json["index_id"] == second.id
    third = await indexer.index(first.collection_id)
    assert (await search(serving, first, image=encoded(0))).json["index_id"] == third.id


async def test_a_deleted_collection_is_not_found_any_more(serving: Api, indexer: Indexer) -> None:
    index = await indexed(serving, indexer, ROWS[:6])
    assert (await search(serving, index, image=encoded(0))).status == 200
    (await serving.post(f"/api/collection/{index.collection_id}/delete")).pushed()
    (await search(serving, index, image=encoded(0))).refused(400, "collection_not_found")


async def test_results_of_several_collections_are_merged_by_percentile(serving: Api, three: list[Index]) -> None:
    collections = [index.collection_id for index in three]
    everything: list[dict[str, Any]] = []
    for index in three:
        found = (await search(serving, index, image=encoded(6), num_results=100)).json["results"]
        everything += [{"collection_id": index.collection_id, **result} for result in found]
    expected = sorted(everything, key=lambda each: (-each["percentile"], -each["score"], each["collection_id"]))
    answer = await merged(serving, image=encoded(6), num_results=100, collections=collections)
    assert answer == {"results": expected, "skipped": []}
    # Picture 6 is in two of them.
    assert [result["image_url"] for result in expected[:2]] == [image_url(6)] * 2
    pages: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        page = await merged(serving, image=encoded(6), num_results=7, offset=offset, collections=collections)
        pages += page["results"]
        offset = page.get("next_offset")
    assert pages == expected


async def test_entries_of_several_collections_stay_apart(serving: Api, three: list[Index]) -> None:
    collections = [index.collection_id for index in three]
    question: dict[str, Any] = {"image": encoded(6), "group_by": "repo_url", "num_results": 100}
    answer = await merged(serving, **question, collections=collections)
    everything: list[dict[str, Any]] = []
    for index in three:
        found = (await search(serving, index, **question)).json["results"]
        everything += [{"collection_id": index.collection_id, **result} for result in found]
    assert answer["results"] == sorted(everything, key=lambda each: (-each["percentile"], -each["score"]))
    assert {result["views"] for result in answer["results"]} == {2}


async def test_a_query_is_embedded_once_for_all_collections(
    serving: Api, three: list[Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, calls = QueryEmbedder.embed, []

    async def counted(self: QueryEmbedder, *arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return await embed(self, *arguments, **options)

    monkeypatch.setattr(QueryEmbedder, "embed", counted)
    examples = [{"image": encoded(1)}, {"image": encoded(2)}]
    await merged(serving, examples=examples, collections=[index.collection_id for index in three])
    assert len(calls) == 2


async def test_collections_that_cannot_be_searched_are_skipped_with_their_codes(
    serving: Api, three: list[Index], indexer: Indexer, ids: list[int], index: Index
) -> None:
    new = await serving.create("new")
    other = await indexed(serving, indexer, [(0, "")], backbone="another")
    usable = three[0].collection_id
    collections = [10**15, usable, new, other.collection_id, usable]
    answer = await merged(serving, image=encoded(0), collections=collections)
    skipped = {each["collection_id"]: each["code"] for each in answer["skipped"]}
    assert skipped == {new: "not_finetuned", other.collection_id: "backbone_changed", 10**15: "collection_not_found"}
    assert all(each["detail"] for each in answer["skipped"])
    assert {result["collection_id"] for result in answer["results"]} == {usable}
    # An image is in one collection only.
    answer = await merged(serving, image_id=ids[0], collections=[index.collection_id, usable])
    assert [(each["collection_id"], each["code"]) for each in answer["skipped"]] == [(usable, "image_not_found")]
    assert {result["collection_id"] for result in answer["results"]} == {index.collection_id}
    # What no collection can answer is refused.
    refused = await serving.post("/api/search", {"image_id": 10**15, "collections": [usable]}, key=None)
    refused.refused(400, "image_not_found")
    unreadable = {"image": base64.b64encode(b"\xff\xd8 no image").decode(), "collections": [usable]}
    assert (await serving.post("/api/search", unreadable, key=None)).json["code"] in ("decode_error", "not_an_image")
    assert (await merged(serving, image=encoded(0), collections=[new]))["results"] == []


async def test_a_key_searches_the_collections_that_it_may_read(
    launch: Launch, embedder: RunningEmbedder, database: Database, three: list[Index]
) -> None:
    closed = await launch(embedder_address=embedder.target, read_key_required=True)
    own, foreign = three[0].collection_id, three[1].collection_id
    key = await ApiKeys(database).create("own", Permissions(Scope.READ, frozenset({own})))
    answer = await merged(closed, key=key, image=encoded(5), num_results=100)
    assert ({result["collection_id"] for result in answer["results"]}, answer["skipped"]) == ({own}, [])
    answer = await merged(closed, key=key, image=encoded(5), collections=[foreign, own])
    assert {result["collection_id"] for result in answer["results"]} == {own}
    assert [(each["collection_id"], each["code"]) for each in answer["skipped"]] == [(foreign, "key_not_allowed")]
    (await closed.post("/api/search", {"image": encoded(5)}, key=None)).refused(403, "forbidden")


@pytest.mark.parametrize("collections", [[], [0], ["1"], 5, [1] * 1001])
async def test_a_wrong_list_of_collections_is_refused(serving: Api, collections: Any) -> None:
    answer = await serving.post("/api/search", {"image_id": 1, "collections": collections}, key=None)
    answer.refused(400, "invalid_collections")


async def test_all_collections_are_searched_by_default(serving: Api, three: list[Index]) -> None:
    answer = await merged(serving, image=encoded(10), num_results=1000, colections=[1])
    assert {index.collection_id for index in three} <= {result["collection_id"] for result in answer["results"]}
    assert '"colections"' in answer["warnings"][0]
    assert "collections" in answer["warnings"][0]


async def batch(api: Api, index: Index, *queries: Any) -> Answer:
    return await api.post(f"/api/collection/{index.collection_id}/search/batch", {"queries": queries}, key=None)


async def test_each_query_of_a_batch_gets_its_answer_or_its_problem(serving: Api, index: Index, ids: list[int]) -> None:
    good = [
        {"image": encoded(5), "num_results": 3, "offset": 0},
        {"examples": [{"image": encoded(2)}, {"image_id": ids[4], "weight": -0.5}], "num_results": 2},
        {"image_id": ids[7], "group_by": "repo_url", "offset": 1},
    ]
    bad = {
        "invalid_base64": {"image": "é"},
        "image_not_found": {"image_id": 10**15},
        "conflicting_fields": {"image_id": 1, "text": "coin"},
        "invalid_queries": 5,
        "not_an_image": {"examples": [{"image_id": ids[0]}, {"image": base64.b64encode(b"%PDF-1.7 text").decode()}]},
        "image_too_large": {"image": base64.b64encode(b"\xff\xd8" * 10_500_000).decode()},
    }
    unknown = {"image_id": ids[0], "limit": 3}
    answers = (await batch(serving, index, good[0], *bad.values(), *good[1:], unknown)).json["answers"]
    alone = [(await search(serving, index, **query)).json for query in good]
    assert [answers[0], *answers[-3:-1]] == alone
    assert '"limit"' in answers[-1]["warnings"][0]
    for code, problem in zip(bad, answers[1:-3], strict=True):
        assert (problem["code"], problem["message_type"], problem["status"] >= 400) == (code, "error", True)
        assert problem["request_id"]
    assert "queries[1].image" in answers[1]["message"]


async def test_a_batch_that_is_no_list_of_queries_is_refused(serving: Api, index: Index) -> None:
    queries: list[Any]
    for queries in ([], [{}] * 65):
        (await batch(serving, index, *queries)).refused(400, "invalid_queries")
    path = f"/api/collection/{index.collection_id}/search/batch"
    (await serving.post(path, {"image": encoded(1)}, key=None)).refused(400, "invalid_queries")
    (await serving.call("POST", path, data=picture(1))).refused(400, "invalid_json")
    full = await batch(serving, index, *[{"image_id": 1, "exclude": list(range(1, 1001))}] * 64)
    assert len(full.json["answers"]) == 64


MANIFEST = {"Accept": 'application/ld+json;profile="http://iiif.io/api/presentation/3/context.json"'}


async def test_similar_is_a_manifest_if_the_client_asks_for_one(serving: Api, index: Index, ids: list[int]) -> None:
    plain = await similar(serving, index, image_id=ids[7])
    asked = await similar(serving, index, image_id=ids[7], format="iiif")
    accepted = await similar(serving, index, MANIFEST, image_id=ids[7])
    for answer in (asked, accepted):
        assert answer.headers["Content-Type"] == MANIFEST["Accept"]
        assert answer.headers["Vary"] == "API-Key, Accept"
        assert_valid(answer.json)
        painted = [canvas["items"][0]["items"][0]["body"]["id"] for canvas in answer.json["items"]]
        assert painted == [result["image_url"] for result in plain.json["results"]]
        assert answer.json["seeAlso"][0]["id"].endswith(f"/api/collection/{index.collection_id}/indexes/{index.id}")
    assert "summary" not in asked.json
    assert plain.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_the_tag_of_a_manifest_is_its_own(serving: Api, index: Index, ids: list[int]) -> None:
    plain = await similar(serving, index, image_id=ids[7])
    first = await similar(serving, index, MANIFEST, image_id=ids[7])
    assert first.headers["ETag"] != plain.headers["ETag"]
    again = await similar(serving, index, {**MANIFEST, "If-None-Match": first.headers["ETag"]}, image_id=ids[7])
    assert again.status == 304
    other = await similar(serving, index, {**MANIFEST, "If-None-Match": plain.headers["ETag"]}, image_id=ids[7])
    assert other.status == 200


async def test_a_search_is_a_manifest_if_the_client_asks_for_one(serving: Api, index: Index, ids: list[int]) -> None:
    path = f"/api/collection/{index.collection_id}/search"
    answer = await serving.post(f"{path}?format=iiif", {"image_id": ids[7]})
    assert answer.json["type"] == "Manifest"
    assert len(answer.json["items"]) == 5
    assert_valid(answer.json)
    assert answer.json["label"] == {"en": [f"Images similar to image {ids[7]}"]}
    other = await serving.post(f"{path}?format=iiif", {"image_id": ids[8]})
    assert other.json["id"] != answer.json["id"]
    (await serving.post(f"{path}?format=iiif", {"image_id": 999_999_999})).refused(400, "image_not_found")
    (await serving.post(f"{path}?format=xml", {"image_id": ids[7]})).refused(400, "invalid_format")


async def test_the_embedding_of_an_image_is_what_search_compares(serving: Api, index: Index, ids: list[int]) -> None:
    found = {}
    # The last two are equal to the image 3, and have no point of their own.
    for row in (3, 7, 20, 21):
        answer = await serving.get(f"/api/collection/{index.collection_id}/images/{ids[row]}/embedding")
        assert answer.json["index_id"] == index.id
        assert answer.json["backbone"] == {"checksum": index.backbone}
        found[row] = answer.json["vector"]
    assert found[3] == found[20] == found[21]
    assert sum(number * number for number in found[7]) == pytest.approx(1.0, abs=1e-4)
    results = (await similar(serving, index, image_id=ids[7], num_results=30)).json["results"]
    score = next(result["score"] for result in results if result["image_id"] == ids[3])
    assert sum(a * b for a, b in zip(found[7], found[3], strict=True)) == pytest.approx(score, abs=1e-3)
    path = f"/api/collection/{index.collection_id}/images"
    (await serving.get(f"{path}/999999999/embedding")).refused(400, "image_not_found")
    (await serving.get(f"{path}/x/embedding")).refused(400, "image_not_found")
