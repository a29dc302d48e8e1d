"""Vectors of small generations are compared in memory: with the same results, and only while Qdrant has them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from catalog.indexed_images import IndexedImages, PointRows, Points
from catalog.indexes import Index
from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations, Vector
from catalog.vectors.projection import Matrix, normalised
from gateway.search.index import held_vectors
from gateway.search.index.held_vectors import SEARCHES, HeldVectors
from servicekit.errors import Unavailable
from tests.eventually import eventually
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Answer, Api
from tests.integration.gateway.conftest import Launch
from tests.integration.gateway.indexing import Indexer, content, image_url, picture
from tests.integration.qdrant_process import QdrantProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")
POINTS, DIM = 600, 32
SIZE = POINTS * DIM * 4
MEMORY = 1 << 20


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def generations(qdrant: QdrantProcess) -> AsyncIterator[Generations]:
    async with open_qdrant(QdrantAddress(qdrant.address)) as client:
        yield Generations(client)


def vectors(seed: int, count: int = POINTS) -> Matrix:
    return normalised(np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32))


async def stored(generations: Generations, name: str, count: int = POINTS) -> str:
    """Store a generation of random vectors, with the ids from 1 on."""
    await generations.create(name, DIM)
    await generations.put(name, list(range(1, count + 1)), vectors(0, count))
    await generations.wait_until_indexed(name, count)
    return name


async def searched(held: HeldVectors, name: str) -> None:
    """Note as many searches as it takes, and wait until what they wanted was loaded or given up."""
    for _ in range(SEARCHES):
        held.answered(name, "")
    key = (name, "")
    await eventually(lambda: key in held._held or key in held._too_large or held._searches[key] < 0)
    held.answered(name, "")


def query(seed: int) -> Vector:
    found: Vector = vectors(seed, 1)[0]
    return found


async def test_they_have_the_results_and_the_vectors_of_qdrant(generations: Generations) -> None:
    name = await stored(generations, "held-results")
    async with HeldVectors.open(generations, max_bytes=SIZE) as held:
        assert held.get(name, "") is None
        await searched(held, name)
        generation = held.get(name, "")
        assert generation is not None
        assert held.held_bytes == SIZE
        for seed in range(1, 20):
            ours, theirs = generation.nearest(query(seed), 13), await generations.query(name, query(seed), 13, None)
            assert [hit.image_id for hit in ours] == [hit.image_id for hit in theirs]
            assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-6)
        read = await generations.read(name, [1, 77, POINTS, POINTS + 1])
        of = generation.of([1, 77, POINTS, POINTS + 1])
        assert of.keys() == read.keys()
        assert all(np.allclose(of[identifier], read[identifier], atol=1e-6) for identifier in read)


async def test_after_a_while_qdrant_is_asked_again(generations: Generations, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await stored(generations, "held-trust")
    async with HeldVectors.open(generations, max_bytes=SIZE) as held:
        await searched(held, name)
        assert held.get(name, "") is not None
        monkeypatch.setattr(held_vectors, "TRUSTED_SECONDS", 0.0)
        held.answered(name, "")
        assert held.get(name, "") is None
        monkeypatch.setattr(held_vectors, "TRUSTED_SECONDS", 60.0)
        held.answered(name, "")
        assert held.get(name, "") is not None
        held.forget(name, "")
        assert held.get(name, "") is None


async def test_a_generation_that_is_too_large_is_not_held_and_not_read_again(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await stored(generations, "held-large")
    reads: Counter[str] = Counter()
    pages = generations.pages

    def counted(*arguments: Any) -> Any:
        reads["pages"] += 1
        return pages(*arguments)

    monkeypatch.setattr(generations, "pages", counted)
    async with HeldVectors.open(generations, max_bytes=SIZE - 1) as held:
        for _ in range(3):
            await searched(held, name)
            held._searches.clear()
        assert (held.get(name, ""), held.held_bytes, reads["pages"]) == (None, 0, 1)
    monkeypatch.setattr(held_vectors, "MOST_POINTS", POINTS - 1)
    async with HeldVectors.open(generations, max_bytes=SIZE) as held:
        await searched(held, name)
        assert (held.get(name, ""), reads["pages"]) == (None, 1)


async def test_what_is_not_used_any_more_makes_room(generations: Generations, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = [await stored(generations, f"held-room-{number}") for number in range(3)]
    async with HeldVectors.open(generations, max_bytes=2 * SIZE) as held:
        await searched(held, first)
        await searched(held, second)
        assert held.get(first, "") is not None
        await searched(held, third)
        # The others were used a moment ago.
        assert held.get(third, "") is None
        monkeypatch.setattr(held_vectors, "BUSY_SECONDS", 0.0)
        held._searches.clear()
        await searched(held, third)
        assert held.get(third, "") is not None
        assert (held.get(second, ""), held.held_bytes) == (None, 2 * SIZE)
        assert held.get(first, "") is not None


async def test_a_generation_that_goes_away_while_it_is_loaded_is_not_held(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await stored(generations, "held-gone")
    monkeypatch.setattr(held_vectors, "PAGE", 100)
    count = generations.count

    async def count_and_drop(*arguments: Any) -> int:
        found = await count(*arguments)
        await generations.drop(name)
        return found

    monkeypatch.setattr(generations, "count", count_and_drop)
    async with HeldVectors.open(generations, max_bytes=SIZE) as held:
        await searched(held, name)
        assert (held.get(name, ""), held.held_bytes) == (None, 0)
        # The next one is loaded as usual.
        monkeypatch.setattr(generations, "count", count)
        other = await stored(generations, "held-next")
        await searched(held, other)
        assert held.get(other, "") is not None


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the queries that Qdrant gets, and the indexes whose rows the database is asked for."""
    counted: Counter[str] = Counter()
    query_points = Qdrant.query_points

    async def count(self: Qdrant, request: Any) -> Any:
        counted["query"] += 1
        return await query_points(self, request)

    of_indexes = IndexedImages.of_indexes

    async def count_rows(self: IndexedImages, wanted: Sequence[Points]) -> list[PointRows]:
        counted["rows"] += len(wanted)
        return await of_indexes(self, wanted)

    monkeypatch.setattr(Qdrant, "query_points", count)
    monkeypatch.setattr(IndexedImages, "of_indexes", count_rows)
    return counted


async def search(api: Api, identifier: int, seed: int) -> Answer:
    return await api.post(f"/api/collection/{identifier}/search", data=picture(seed))


async def results(api: Api, identifier: int, seed: int) -> list[dict[str, Any]]:
    answer = await search(api, identifier, seed)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json
    return found


async def held_collection(api: Api, indexer: Indexer, queries: Counter[str]) -> Index:
    """Return the index of a new collection, which was searched until its vectors and its rows are held."""
    identifier = await api.create()
    (await api.upload(identifier, content(range(12)))).pushed()
    index = await indexer.index(identifier)
    while True:
        queries.clear()
        await results(api, identifier, 1)
        if not queries["query"] and not queries["rows"]:
            return index


async def served(launch: Launch, embedder: RunningEmbedder, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Start a gateway that asks Qdrant seldom, so that tests on a busy machine see what is held."""
    monkeypatch.setattr(held_vectors, "TRUSTED_SECONDS", 30.0)
    return await launch(embedder_address=embedder.target, held_vector_bytes=MEMORY)


async def test_answers_are_the_same_from_memory(
    launch: Launch,
    embedder: RunningEmbedder,
    indexer: Indexer,
    queries: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = await served(launch, embedder, monkeypatch)
    without = await launch(embedder_address=embedder.target)
    identifier = (await held_collection(api, indexer, queries)).collection_id
    queries.clear()
    for seed in range(12):
        ours = await results(api, identifier, seed)
        assert not queries.total()
        theirs = await results(without, identifier, seed)
        assert (queries.pop("query"), queries.pop("rows")) == (1, 1)
        assert [found["image_id"] for found in ours] == [found["image_id"] for found in theirs]
        assert [found["score"] for found in ours] == pytest.approx([each["score"] for each in theirs], abs=1e-5)
        assert ours[0]["image_url"] == image_url(seed)
    similar = f"/api/collection/{identifier}/similar?image_id={ours[0]['image_id']}"
    found, expected = (await api.get(similar)).json, (await without.get(similar)).json
    assert [each["image_id"] for each in found["results"]] == [each["image_id"] for each in expected["results"]]
    assert queries["query"] == 1


async def test_a_replaced_index_is_not_searched_from_memory(
    launch: Launch,
    embedder: RunningEmbedder,
    indexer: Indexer,
    queries: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = await served(launch, embedder, monkeypatch)
    identifier = (await held_collection(api, indexer, queries)).collection_id
    (await api.upload(identifier, content(range(20, 30)))).pushed()
    newer = await indexer.index(identifier, seed=5)
    for _ in range(6):
        found = await results(api, identifier, 25)
        assert found[0]["image_url"] == image_url(25)
        assert {each["image_url"] for each in found} <= {image_url(seed) for seed in range(20, 30)}
    path = f"/api/collection/{identifier}/search"
    answer = (await api.post(path, {"image_id": found[0]["image_id"]})).json
    assert answer["index_id"] == newer.id


async def test_a_deleted_collection_is_not_searched_from_memory(
    launch: Launch,
    embedder: RunningEmbedder,
    indexer: Indexer,
    queries: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = await served(launch, embedder, monkeypatch)
    identifier = (await held_collection(api, indexer, queries)).collection_id
    (await api.post(f"/api/collection/{identifier}/delete")).pushed()
    (await search(api, identifier, 1)).refused(400, "collection_not_found")


async def test_an_index_that_loses_its_vectors_is_noticed_and_marked(
    launch: Launch, embedder: RunningEmbedder, indexer: Indexer, queries: Counter[str]
) -> None:
    api = await launch(embedder_address=embedder.target, held_vector_bytes=MEMORY)
    index = await held_collection(api, indexer, queries)
    identifier = index.collection_id
    await indexer.generations.drop(index.qdrant_collection)
    async with asyncio.timeout(10):
        while (answer := await search(api, identifier, 1)).status == 200:  # noqa: ASYNC110 - it asks another process
            await asyncio.sleep(0.1)
    answer.refused(503, "vectors_missing")
    (await search(api, identifier, 1)).refused(503, "vectors_missing")
    assert (await api.info(identifier))["requires_finetuning"] is True


async def test_a_load_that_fails_leaves_the_searches_to_qdrant(
    launch: Launch,
    embedder: RunningEmbedder,
    indexer: Indexer,
    queries: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unavailable(*_: Any) -> int:
        raise Unavailable("The vector store is not available.", code="qdrant_unavailable")

    monkeypatch.setattr(Generations, "count", unavailable)
    api = await served(launch, embedder, monkeypatch)
    identifier = await api.create()
    (await api.upload(identifier, content(range(12)))).pushed()
    await indexer.index(identifier)
    for _ in range(2 * SEARCHES):
        await results(api, identifier, 1)
    assert queries["query"] == 2 * SEARCHES
