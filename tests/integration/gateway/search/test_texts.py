"""Search by text, over HTTP, with a small CLIP in a real embedder."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from catalog.images import Images
from catalog.indexes import Index
from catalog.postgres.database import Database
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.generations import SHARED, Generations
from catalog.vectors.projection import normalised
from gateway.app import gateway
from gateway.search.texts.score_distribution import ScoreDistribution
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer, Api, api_client
from tests.integration.gateway.conftest import Parts, settings_for
from tests.integration.gateway.indexing import Indexer, content, picture
from tests.integration.qdrant_process import QdrantProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")
Matrix = npt.NDArray[np.float32]

COUNT = 30
TEXT = "a photo of a red coin"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def serving(clip: RunningEmbedder, parts: Parts, tmp_path_factory: Any) -> AsyncIterator[Api]:
    settings = settings_for(parts, {"embedder_address": clip.target}, tmp_path_factory.mktemp("spool"))
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clips(database: Database, qdrant: QdrantProcess, clip: RunningEmbedder) -> AsyncIterator[Indexer]:
    async with open_qdrant(QdrantAddress(qdrant.address)) as client, open_channel(clip.target) as channel:
        embedder = QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
        yield Indexer(database, Generations(client), embedder, clip.description.checksum)


async def new_index(api: Api, indexer: Indexer, seeds: range, **options: Any) -> Index:
    identifier = await api.create("texts")
    (await api.upload(identifier, content(seeds))).pushed()
    return await indexer.index(identifier, **{"shared": True, **options})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def index(serving: Api, clips: Indexer) -> Index:
    return await new_index(serving, clips, range(COUNT))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ids(index: Index, database: Database) -> list[int]:
    """Return the ids of the images, by row."""
    page = await Images(database).page(index.collection_id, index.revision, after=0, limit=100)
    return [image.id for image in page]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def images(clips: Indexer) -> Matrix:
    """Return the unit vectors of the pictures in the space that they share with texts."""
    vectors = [await clips.embedder.embed(picture(seed), clips.backbone) for seed in range(COUNT)]
    return normalised(np.stack(vectors))


async def of_text(indexer: Indexer, text: str) -> Matrix:
    embedded = await indexer.embedder.embed_text(text, indexer.backbone)
    unit: Matrix = normalised(embedded.vector[np.newaxis])[0]
    return unit


async def search(api: Api, index: Index, **fields: Any) -> Answer:
    return await api.post(f"/api/collection/{index.collection_id}/search", fields, key=None)


async def results(api: Api, index: Index, **fields: Any) -> list[dict[str, Any]]:
    answer = await search(api, index, **fields)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["results"]
    return found


def encoded(seed: int) -> str:
    return base64.b64encode(picture(seed)).decode()


async def test_the_service_says_that_it_compares_texts(serving: Api) -> None:
    assert (await serving.get("/api/info")).json["backbone"]["text"] is True


async def test_a_text_ranks_all_images_as_brute_force_in_the_shared_space(
    serving: Api, clips: Indexer, index: Index, ids: list[int], images: Matrix
) -> None:
    scores = images @ await of_text(clips, TEXT)
    found = await results(serving, index, text=TEXT, num_results=COUNT)
    assert [result["image_id"] for result in found] == [ids[row] for row in np.argsort(-scores)]
    assert [result["score"] for result in found] == pytest.approx(np.sort(scores)[::-1], abs=1e-5)
    assert {result["false_match_rate"] for result in found} == {None}
    # All images are in the sample, so a percentile is exact.
    places = range(COUNT - 1, -1, -1)
    assert [result["percentile"] for result in found] == [round(100 * place / (COUNT - 1), 1) for place in places]


async def test_texts_with_weights_are_added_up(
    serving: Api, clips: Indexer, index: Index, ids: list[int], images: Matrix
) -> None:
    examples = [{"text": "red coin"}, {"text": "old map", "weight": -0.5}]
    query = await of_text(clips, "red coin") - 0.5 * await of_text(clips, "old map")
    found = await results(serving, index, examples=examples, num_results=COUNT)
    assert [result["image_id"] for result in found] == [ids[row] for row in np.argsort(-(images @ query))]
    assert found[0]["percentile"] == 100


async def test_images_are_still_compared_in_the_tuned_space(serving: Api, index: Index, ids: list[int]) -> None:
    for fields in ({"image": encoded(4)}, {"image_id": ids[4], "exclude_self": False}):
        best = (await results(serving, index, **fields))[0]
        assert best["image_id"] == ids[4]
        assert best["score"] == pytest.approx(1, abs=1e-4)


async def test_mixed_examples_are_ranked_by_the_mean_of_their_percentiles(
    serving: Api, clips: Indexer, index: Index, ids: list[int], images: Matrix
) -> None:
    # The adapter of the index is an orthogonal map to all dimensions, so cosines are the same in both spaces.
    of_image = ScoreDistribution(images @ images[4]).percentiles(images @ images[4])
    scores = images @ await of_text(clips, TEXT)
    of_words = ScoreDistribution(scores).percentiles(scores)
    for weight in (0.5, -0.5):
        examples = [{"image": encoded(4)}, {"text": TEXT, "weight": weight}]
        found = await results(serving, index, examples=examples, num_results=COUNT)
        fused = (of_image + 0.5 * (of_words if weight > 0 else 100 - of_words)) / 1.5
        by_image = dict(zip(ids, fused, strict=True))
        assert [result["percentile"] for result in found] == pytest.approx(sorted(fused, reverse=True), abs=0.06)
        assert [by_image[result["image_id"]] for result in found] == pytest.approx(
            sorted(fused, reverse=True), abs=1e-6
        )
        assert [100 * result["score"] for result in found] == pytest.approx(sorted(fused, reverse=True), abs=1e-3)


async def test_options_work_with_texts(serving: Api, index: Index) -> None:
    everything = await results(serving, index, text=TEXT, num_results=COUNT)
    ids = [result["image_id"] for result in everything]
    page = await search(serving, index, text=TEXT, num_results=4, offset=3)
    assert [result["image_id"] for result in page.json["results"]] == ids[3:7]
    assert page.json["next_offset"] == 7
    without = await results(serving, index, text=TEXT, num_results=3, exclude=ids[:2])
    assert [result["image_id"] for result in without] == ids[2:5]
    good = await results(serving, index, text=TEXT, num_results=COUNT, min_percentile=80)
    assert [result["image_id"] for result in good] == [
        each["image_id"] for each in everything if each["percentile"] >= 80
    ]
    entries = await results(serving, index, text=TEXT, num_results=3, group_by="repo_url")
    assert [(entry["image_id"], entry["views"]) for entry in entries] == [(identifier, 1) for identifier in ids[:3]]
    threshold = 100 * everything[5]["score"]
    assert len(await results(serving, index, text=TEXT, num_results=COUNT, threshold=threshold)) == 6


async def test_a_long_text_is_cut_with_a_warning(serving: Api, index: Index) -> None:
    answer = await search(serving, index, text="red " * 100)
    (warning,) = answer.json["warnings"]
    assert "399 characters" in warning
    assert "first 55" in warning


async def test_texts_in_a_batch(serving: Api, index: Index) -> None:
    queries = [{"text": TEXT}, {"text": "old map", "region": {}}, {"text": "old map", "num_results": 1}]
    path = f"/api/collection/{index.collection_id}/search/batch"
    answers = (await serving.post(path, {"queries": queries}, key=None)).json["answers"]
    assert answers[0]["results"] == await results(serving, index, text=TEXT)
    assert answers[1]["code"] == "conflicting_fields"
    assert answers[2]["results"] == await results(serving, index, text="old map", num_results=1)


async def test_several_collections_are_searched_by_text_and_those_without_shared_vectors_are_skipped(
    serving: Api, clips: Indexer, index: Index
) -> None:
    other = await new_index(serving, clips, range(40, 50), seed=1)
    old = await new_index(serving, clips, range(50, 55), shared=False)
    wanted = [index.collection_id, other.collection_id, old.collection_id]
    body = {"text": TEXT, "collections": wanted, "num_results": 100}
    answer = (await serving.post("/api/search", body, key=None)).json
    assert len(answer["results"]) == COUNT + 10
    percentiles = [result["percentile"] for result in answer["results"]]
    assert percentiles == sorted(percentiles, reverse=True)
    assert [(each["collection_id"], each["code"]) for each in answer["skipped"]] == [
        (old.collection_id, "text_not_indexed")
    ]
    mixed = {"examples": [{"text": TEXT}, {"image": encoded(4)}], "collections": wanted[:2], "num_results": 1}
    best = (await serving.post("/api/search", mixed, key=None)).json["results"][0]
    assert 50 <= best["percentile"] <= 100


async def test_an_index_from_before_texts_says_what_to_do(serving: Api, clips: Indexer) -> None:
    old = await new_index(serving, clips, range(3), shared=False)
    problem = (await search(serving, old, text=TEXT)).refused(400, "text_not_indexed")
    assert "force=true" in problem["detail"]
    assert (await results(serving, old, image=encoded(1)))[0]["score"] == pytest.approx(1, abs=1e-4)


async def test_an_index_of_another_backbone_says_so(serving: Api, clips: Indexer) -> None:
    for shared in (True, False):
        other = await new_index(serving, clips, range(3), shared=shared, backbone="0" * 64)
        (await search(serving, other, text=TEXT)).refused(400, "backbone_changed")


async def test_without_a_text_tower_the_message_says_how_to_get_one(
    api: Api, indexer: Indexer, embedder: RunningEmbedder, parts: Parts, tmp_path: Any
) -> None:
    index = await new_index(api, indexer, range(3), shared=False)
    settings = settings_for(parts, {"embedder_address": embedder.target}, tmp_path)
    async with gateway(settings) as running, api_client(f"http://{running.host}:{running.port}", parts.key) as plain:
        assert (await plain.get("/api/info")).json["backbone"]["text"] is False
        problem = (await search(plain, index, text=TEXT)).refused(400, "text_not_supported")
    assert "SIMILIS_BACKBONE" in problem["detail"]


async def test_the_generation_has_the_backbones_own_vectors(
    clips: Indexer, index: Index, ids: list[int], images: Matrix
) -> None:
    stored = await clips.generations.read(index.qdrant_collection, ids, SHARED)
    np.testing.assert_allclose(np.stack([stored[identifier] for identifier in ids]), images, atol=1e-5)
