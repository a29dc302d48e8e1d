"""What a search can ask, over HTTP: indexed images, several examples, pages, and images to leave out."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from catalog.images import Images
from catalog.indexes import Index
from catalog.postgres.database import Database
from gateway.app import gateway
from gateway.upstreams.embedder import QueryEmbedder
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer, Api, api_client
from tests.integration.gateway.conftest import Launch, Parts, settings_for
from tests.integration.gateway.indexing import Indexer, content, image_url, picture

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = 20
# The row of picture 3 again: an image without a point of its own.
COPIES = content(range(3, 4)) * 2


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def serving(embedder: RunningEmbedder, parts: Parts, tmp_path_factory: Any) -> AsyncIterator[Api]:
    settings = settings_for(parts, {"embedder_address": embedder.target}, tmp_path_factory.mktemp("spool"))
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def index(serving: Api, indexer: Indexer) -> Index:
    """Return the index of a collection of the pictures 0 to 19, and of picture 3 twice more."""
    identifier = await serving.create("questions")
    (await serving.upload(identifier, content(range(COUNT)) + COPIES)).pushed()
    return await indexer.index(identifier)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def ids(index: Index, database: Database) -> list[int]:
    """Return the ids of the images, by row."""
    page = await Images(database).page(index.collection_id, index.revision, after=0, limit=100)
    return [image.id for image in page]


def encoded(seed: int) -> str:
    return base64.b64encode(picture(seed)).decode()


async def search(api: Api, index: Index, **fields: Any) -> Answer:
    return await api.post(f"/api/collection/{index.collection_id}/search", fields, key=None)


async def results(api: Api, index: Index, **fields: Any) -> list[dict[str, Any]]:
    answer = await search(api, index, **fields)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["results"]
    return found


async def found_ids(api: Api, index: Index, **fields: Any) -> list[int]:
    return [result["image_id"] for result in await results(api, index, **fields)]


async def vectors(index: Index, indexer: Indexer, identifiers: list[int]) -> list[Any]:
    """Return the tuned vectors of images that have a point."""
    stored = await indexer.generations.read(index.qdrant_collection, identifiers)
    return [stored[identifier] for identifier in identifiers]


async def test_an_id_finds_what_its_image_finds_and_embeds_nothing(
    serving: Api, index: Index, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_image = await results(serving, index, image=encoded(7), num_results=COUNT)
    monkeypatch.delattr(QueryEmbedder, "embed")
    by_id = await results(serving, index, image_id=ids[7], num_results=COUNT, exclude_self=False)
    assert [result["image_id"] for result in by_id] == [result["image_id"] for result in by_image]
    assert by_id[0]["score"] == pytest.approx(1)
    assert [each["score"] for each in by_id] == pytest.approx([each["score"] for each in by_image], abs=1e-3)
    assert [each["percentile"] for each in by_id] == pytest.approx([each["percentile"] for each in by_image], abs=0.2)
    others = await results(serving, index, image_id=ids[7], num_results=COUNT)
    assert others[: COUNT - 1] == by_id[1:]
    assert ids[7] not in [result["image_id"] for result in others]


async def test_an_image_without_a_point_of_its_own_asks_with_the_point_that_stands_for_it(
    serving: Api, index: Index, ids: list[int]
) -> None:
    first, *copies = ids[3], ids[COUNT], ids[COUNT + 1]
    for asking in (first, *copies):
        found = await results(serving, index, image_id=asking, num_results=3)
        assert [result["image_id"] for result in found[:2]] == [each for each in (first, *copies) if each != asking]
        assert {result["image_url"] for result in found[:2]} == {image_url(3)}


async def test_an_id_that_the_index_lacks_is_refused(serving: Api, indexer: Indexer, database: Database) -> None:
    identifier = await serving.create("lacking")
    await serving.upload(identifier, content(range(3)))
    index = await indexer.index(identifier)
    for missing in (10**15, 1):
        answer = await search(serving, index, image_id=missing)
        assert str(missing) in answer.refused(400, "image_not_found")["message"]
    await serving.upload(identifier, content(range(1, 5)))
    images = await Images(database).page(identifier, 2, after=0, limit=10)
    (await search(serving, index, image_id=images[-1].id)).refused(400, "image_not_indexed")
    # Search serves the previous content, so its images can still ask.
    removed = (await Images(database).page(identifier, 1, after=0, limit=1))[0]
    assert removed.image_url == image_url(0)
    assert len(await results(serving, index, image_id=removed.id)) == 2


async def test_examples_are_added_as_weighted_unit_vectors(
    serving: Api, index: Index, indexer: Indexer, ids: list[int]
) -> None:
    weights = {0: 1.0, 1: 0.5, 2: -0.25}
    examples = [{"image_id": ids[row], "weight": weight} for row, weight in weights.items()]
    tuned = await vectors(index, indexer, ids[:COUNT])
    total = sum(weight * tuned[row] for row, weight in weights.items())
    scores = np.stack(tuned) @ (total / np.linalg.norm(total))
    found = await results(serving, index, examples=examples, exclude_self=False, num_results=COUNT + 2)
    by_row = {result["image_id"]: result["score"] for result in found}
    assert [by_row[identifier] for identifier in ids[:COUNT]] == pytest.approx(list(scores), abs=1e-4)
    # An upload and the same image by id are the same example.
    mixed = [{"image": encoded(0)}, examples[1], {"image": encoded(2), "weight": -0.25}]
    by_upload = await results(serving, index, examples=mixed, num_results=COUNT + 2)
    assert {each["image_id"]: each["score"] for each in by_upload} == pytest.approx(by_row, abs=1e-3)


async def test_a_negative_example_pushes_results_away(serving: Api, index: Index, ids: list[int]) -> None:
    near = (await found_ids(serving, index, image_id=ids[0], num_results=COUNT))[0]
    examples = [{"image_id": ids[0]}, {"image_id": near, "weight": -0.9}]
    found = await found_ids(serving, index, examples=examples, num_results=COUNT + 2, exclude_self=False)
    assert found[0] == ids[0]
    assert found.index(near) > COUNT // 2
    examples[1] = {"image_id": ids[0], "weight": -1}
    (await search(serving, index, examples=examples)).refused(400, "examples_cancel_out")


async def test_pages_join_to_the_whole(serving: Api, index: Index, ids: list[int]) -> None:
    for question in ({"image_id": ids[3]}, {"image": encoded(3)}, {"image_id": ids[3], "exclude": ids[5:9]}):
        whole = await search(serving, index, **question, num_results=100, offset=0)
        assert "next_offset" not in whole.json
        pages, offset = [], 0
        while offset is not None:
            page = await search(serving, index, **question, num_results=4, offset=offset)
            pages += page.json["results"]
            assert len(page.json["results"]) == 4 or "next_offset" not in page.json
            offset = page.json.get("next_offset")
        assert pages == whole.json["results"]
    assert await results(serving, index, image_id=ids[3], offset=500) == []
    last = await search(serving, index, image_id=ids[3], offset=9_999, num_results=1)
    assert (last.json["results"], "next_offset" in last.json) == ([], False)


async def test_a_filter_that_cuts_a_page_leaves_no_next_one(serving: Api, index: Index, ids: list[int]) -> None:
    everything = await results(serving, index, image_id=ids[7], num_results=COUNT)
    limits = {"min_percentile": everything[5]["percentile"], "threshold": 100 * everything[5]["score"]}
    for name, limit in limits.items():
        key, least = ("percentile", limit) if name == "min_percentile" else ("score", limit / 100)
        wanted = [result for result in everything if result[key] >= least]
        first = await search(serving, index, image_id=ids[7], num_results=4, **{name: limit})
        assert first.json["next_offset"] == 4
        second = await search(serving, index, image_id=ids[7], num_results=10, offset=4, **{name: limit})
        assert 4 < len(wanted) < 14
        assert first.json["results"] + second.json["results"] == wanted
        assert "next_offset" not in second.json


async def test_excluded_images_are_not_found(serving: Api, index: Index, ids: list[int]) -> None:
    everything = await found_ids(serving, index, image=encoded(3), num_results=100)
    assert len(everything) == COUNT + 2
    excluded = [ids[3], everything[5], 10**15]
    found = await found_ids(serving, index, image=encoded(3), num_results=COUNT - 1, exclude=excluded)
    assert found == [each for each in everything if each not in excluded][: COUNT - 1]
    # The copies of picture 3 are other images.
    assert found[:2] == ids[COUNT:]


async def test_the_first_fields_get_the_first_answer(serving: Api, index: Index) -> None:
    answer = await search(serving, index, image=encoded(3), num_results=2, threshold=0, min_percentile=0)
    assert set(answer.json) == {"results", "index_id"}
    with_offset = await search(serving, index, image=encoded(3), num_results=2, offset=0)
    assert with_offset.json == answer.json | {"next_offset": 2}


async def test_an_image_may_be_paged_in_the_query(serving: Api, index: Index) -> None:
    path = f"/api/collection/{index.collection_id}/search"
    everything = (await serving.call("POST", f"{path}?num_results=6", data=picture(3))).json
    assert (await serving.call("POST", f"{path}?num_results=3&offset=3", data=picture(3))).json == everything[3:]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image_id": 1, "text": "coin"}, "conflicting_fields"),
        ({"text": "coin", "region": {"x": 0, "y": 0, "width": 1, "height": 1}}, "conflicting_fields"),
        ({"examples": [{"image_id": 1, "weight": 2}]}, "invalid_weight"),
        ({"image_id": 1, "offset": 10_000}, "invalid_offset"),
        ({"text": "coin"}, "text_not_supported"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    serving: Api, index: Index, fields: dict[str, Any], code: str
) -> None:
    (await search(serving, index, **fields)).refused(400, code)


async def test_the_images_of_a_request_share_the_memory(
    launch: Launch, index: Index, embedder: RunningEmbedder
) -> None:
    api = await launch(embedder_address=embedder.target, max_image_bytes=100_000, body_memory_bytes=600_000)
    large = base64.b64encode(b"\xff\xd8" + b"x" * 80_000).decode()
    message = (await search(api, index, examples=[{"image": large}] * 3)).refused(413, "image_too_large")["message"]
    assert "together" in message
    (await search(api, index, examples=[{"image": encoded(1)}, {"image": large}])).refused(400, "not_an_image")
    assert (await results(api, index, examples=[{"image": encoded(1)}] * 3))[0]["image_url"] == image_url(1)
