"""Writing, reading, counting and deleting points, on any Qdrant server."""

from uuid import uuid4

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as messages

from tests.integration.local_qdrant.vectors import clustered, ids_of, nearest, upsert
from tests.integration.local_qdrant.waiting import honest_status, settled

SIZE = 8
PLAIN = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)


@pytest.fixture
async def collection(client: AsyncQdrantClient, name: str) -> str:
    await client.create_collection(name, vectors_config=PLAIN)
    return name


async def test_a_point_is_retrieved_with_its_payload_and_vector(client: AsyncQdrantClient, name: str) -> None:
    await client.create_collection(name, vectors_config=models.VectorParams(size=SIZE, distance=models.Distance.DOT))
    payload = {"a": 1, "b": 2.5, "c": None, "d": ["x", {"y": True}], "e": {"f": "g"}, "h": [], "i": {}}
    vector = [float(value) for value in range(SIZE)]
    identifier = str(uuid4())

    result = await client.upsert(name, [models.PointStruct(id=identifier, vector=vector, payload=payload)], wait=True)
    found = await client.retrieve(name, [identifier], with_payload=True, with_vectors=True)

    assert result.status is models.UpdateStatus.COMPLETED
    assert [(point.id, point.payload, point.vector) for point in found] == [(identifier, payload, vector)]


async def test_retrieve_returns_only_points_that_exist(client: AsyncQdrantClient, collection: str) -> None:
    await upsert(client, collection, clustered(3, SIZE))

    found = await client.retrieve(collection, [2, 77, 0], with_payload=True, with_vectors=False)

    assert sorted(int(point.id) for point in found) == [0, 2]
    assert all(point.vector is None for point in found)


async def test_retrieving_no_ids_returns_nothing(client: AsyncQdrantClient, collection: str) -> None:
    assert await client.retrieve(collection, []) == []


async def test_upserting_an_id_again_replaces_it(client: AsyncQdrantClient, collection: str) -> None:
    one, other = np.eye(SIZE)[0].tolist(), np.eye(SIZE)[1].tolist()
    await client.upsert(collection, [models.PointStruct(id=1, vector=one, payload={"old": 1})], wait=True)
    await client.upsert(collection, [models.PointStruct(id=1, vector=other, payload={"new": 1})], wait=True)

    (point,) = await client.retrieve(collection, [1], with_vectors=True)

    assert point.payload == {"new": 1}
    assert point.vector == pytest.approx(other)
    assert (await client.count(collection)).count == 1


async def test_the_largest_id_is_supported(client: AsyncQdrantClient, collection: str) -> None:
    largest = 2**64 - 1
    await client.upsert(collection, [models.PointStruct(id=largest, vector=[1.0] * SIZE)], wait=True)
    assert [point.id for point in await client.retrieve(collection, [largest])] == [largest]


async def test_count_and_scroll_see_every_point_once(client: AsyncQdrantClient, collection: str) -> None:
    await upsert(client, collection, clustered(250, SIZE))

    assert (await client.count(collection, exact=True)).count == 250
    assert await ids_of(client, collection, page=64) == list(range(250))


async def test_scroll_starts_at_the_offset_and_returns_one_page(client: AsyncQdrantClient, collection: str) -> None:
    await upsert(client, collection, clustered(20, SIZE))

    records, following = await client.scroll(collection, offset=5, limit=3, with_vectors=True)

    assert [record.id for record in records] == [5, 6, 7]
    assert following == 8
    assert all(isinstance(record.vector, list) and len(record.vector) == SIZE for record in records)


async def test_deleted_points_are_gone_and_others_stay(client: AsyncQdrantClient, collection: str) -> None:
    await upsert(client, collection, clustered(10, SIZE))

    result = await client.delete(collection, models.PointIdsList(points=[1, 3, 99]), wait=True)

    assert result.status is models.UpdateStatus.COMPLETED
    assert await ids_of(client, collection) == [0, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (models.Distance.COSINE, [0, 2, 1]),
        (models.Distance.DOT, [1, 0, 2]),
        (models.Distance.EUCLID, [0, 2, 1]),
        (models.Distance.MANHATTAN, [0, 2, 1]),
    ],
)
async def test_each_distance_orders_the_nearest_first(
    client: AsyncQdrantClient, name: str, distance: models.Distance, expected: list[int]
) -> None:
    await client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=distance))
    vectors = {0: [1.0, 0.1], 1: [3.0, 9.0], 2: [0.5, 0.5]}
    points = [models.PointStruct(id=identifier, vector=vector) for identifier, vector in vectors.items()]
    await client.upsert(name, points, wait=True)

    found = await client.query_points(name, query=[1.0, 0.0], limit=3)

    assert [point.id for point in found.points] == expected


async def test_a_query_respects_limit_offset_threshold_payload_and_vectors(
    client: AsyncQdrantClient, collection: str
) -> None:
    vectors = clustered(200, SIZE)
    points = [
        models.PointStruct(id=index, vector=vector.tolist(), payload={"row": index, "other": "x"})
        for index, vector in enumerate(vectors)
    ]
    await client.upsert(collection, points, wait=True)
    query = vectors[7].tolist()

    best = (await client.query_points(collection, query=query, limit=20, with_payload=False)).points
    threshold = (best[4].score + best[5].score) / 2
    after = (await client.query_points(collection, query=query, limit=5, offset=3)).points
    above = (await client.query_points(collection, query=query, limit=200, score_threshold=threshold)).points
    full = (
        await client.query_points(
            collection,
            query=query,
            limit=1,
            with_payload=models.PayloadSelectorInclude(include=["row"]),
            with_vectors=True,
        )
    ).points[0]

    assert [point.id for point in best] == nearest(vectors, vectors[7], 20)
    assert best[0].score == pytest.approx(1.0, abs=1e-5)
    assert not best[0].payload
    assert best[0].vector is None
    assert [point.id for point in after] == [point.id for point in best[3:8]]
    assert [point.id for point in above] == [point.id for point in best[:5]]
    assert full.payload == {"row": 7}
    assert full.vector == pytest.approx((vectors[7] / np.linalg.norm(vectors[7])).tolist(), abs=1e-5)


async def test_a_query_returns_ten_points_by_default(client: AsyncQdrantClient, collection: str) -> None:
    await upsert(client, collection, clustered(30, SIZE))
    request = messages.QueryPoints(collection_name=collection)
    request.query.nearest.dense.data.extend([1.0] * SIZE)

    assert len((await client.grpc_points.Query(request)).result) == 10


@pytest.mark.parametrize("quantized", [False, True])
async def test_recall_at_ten_of_the_graph_is_at_least_95_percent(
    client: AsyncQdrantClient, name: str, quantized: bool
) -> None:
    size, number = 64, 4000
    quantization = models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    )
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE, on_disk=True),
        hnsw_config=models.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100),
        quantization_config=quantization if quantized else None,
    )
    vectors, queries = clustered(number, size), clustered(50, size, seed=1)
    await upsert(client, name, vectors)

    await honest_status(client, name)
    await settled(client, name)
    info = await client.get_collection(name)
    found = 0
    params = models.SearchParams(
        hnsw_ef=128, quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0)
    )
    for query in queries:
        answer = await client.query_points(name, query=query.tolist(), limit=10, search_params=params)
        found += len({point.id for point in answer.points} & set(nearest(vectors, query, 10)))

    assert info.points_count == number
    assert info.indexed_vectors_count == number
    assert found / (10 * len(queries)) >= 0.95


async def test_exact_search_ignores_the_graph(client: AsyncQdrantClient, name: str) -> None:
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=32, distance=models.Distance.COSINE),
        hnsw_config=models.HnswConfigDiff(m=4, ef_construct=4, full_scan_threshold=10),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=50),
    )
    vectors, queries = clustered(2000, 32), clustered(20, 32, seed=1)
    await upsert(client, name, vectors)
    await settled(client, name)

    for query in queries:
        answer = await client.query_points(
            name, query=query.tolist(), limit=10, search_params=models.SearchParams(exact=True)
        )
        assert [point.id for point in answer.points] == nearest(vectors, query, 10)
