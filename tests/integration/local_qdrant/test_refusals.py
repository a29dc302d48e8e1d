"""Requests that are refused, and their status codes. A refused request changes nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as messages

from tests.integration.local_qdrant.conftest import needs_one_machine_server
from tests.integration.local_qdrant.vectors import clustered, ids_of, upsert
from tests.integration.qdrant_process import qdrant_client

SIZE = 4
VECTOR = [1.0, 2.0, 3.0, 4.0]
Call = Callable[[AsyncQdrantClient, str], Awaitable[object]]


async def refused(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """Return the error that a call fails with. Fail if it succeeds."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def collection(qdrant_address: tuple[str, int]) -> AsyncIterator[str]:
    """A collection of three points that all tests share: a refused request does not change it."""
    name = f"similis-test-{uuid4().hex[:12]}"
    client = qdrant_client(*qdrant_address)
    plain = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)
    await client.create_collection(name, vectors_config=plain)
    await upsert(client, name, clustered(3, SIZE))
    yield name
    await client.delete_collection(name)
    await client.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda client, name: client.get_collection(name),
        lambda client, name: client.upsert(name, [models.PointStruct(id=1, vector=VECTOR)]),
        lambda client, name: client.delete(name, [1]),
        lambda client, name: client.query_points(name, query=VECTOR),
        lambda client, name: client.retrieve(name, [1]),
        lambda client, name: client.scroll(name),
        lambda client, name: client.count(name),
    ],
)
async def test_a_missing_collection_is_not_found(client: AsyncQdrantClient, name: str, call: Call) -> None:
    error = await refused(call(client, name))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert name in (error.details() or "")


async def test_creating_an_existing_collection_is_refused(client: AsyncQdrantClient, collection: str) -> None:
    error = await refused(
        client.create_collection(collection, vectors_config=models.VectorParams(size=9, distance=models.Distance.DOT))
    )
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert (await client.count(collection)).count == 3


def _point(**fields: Any) -> messages.PointStruct:
    point = messages.PointStruct(id=messages.PointId(num=9))
    point.vectors.vector.dense.data.extend(VECTOR)
    point.MergeFrom(messages.PointStruct(**fields))
    return point


def _upsert(*points: messages.PointStruct, **fields: Any) -> Call:
    return lambda client, name: client.grpc_points.Upsert(
        messages.UpsertPoints(collection_name=name, wait=True, points=points, **fields)
    )


def _query(**fields: Any) -> Call:
    return lambda client, name: client.query_points(name, **{"query": VECTOR, **fields})


@pytest.mark.parametrize(
    "call",
    [
        _upsert(_point(id=messages.PointId(uuid="no-uuid"))),
        _upsert(messages.PointStruct(vectors=_point().vectors)),
        _upsert(_point(), messages.PointStruct(id=messages.PointId(num=10))),
        lambda client, name: client.upsert(name, [models.PointStruct(id=9, vector=[1.0, 2.0])]),
        lambda client, name: client.upsert(name, [models.PointStruct(id=9, vector=[*VECTOR, 5.0])]),
        lambda client, name: client.upsert(
            name, [models.PointStruct(id=9, vector=VECTOR), models.PointStruct(id=8, vector=[1.0])]
        ),
        _query(query=[1.0]),
        _query(limit=0),
        lambda client, name: client.grpc_points.Delete(messages.DeletePoints(collection_name=name)),
        lambda client, name: client.scroll(name, limit=0),
    ],
)
async def test_bad_input_is_an_invalid_argument(client: AsyncQdrantClient, collection: str, call: Call) -> None:
    assert (await refused(call(client, collection))).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await ids_of(client, collection) == [0, 1, 2]


@needs_one_machine_server
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_a_vector_with_a_number_that_is_not_finite_is_an_invalid_argument(
    client: AsyncQdrantClient, collection: str, value: float
) -> None:
    bad = [1.0, value, 3.0, 4.0]
    writing = await refused(client.upsert(collection, [models.PointStruct(id=9, vector=bad)]))
    asking = await refused(client.query_points(collection, query=bad))

    assert {writing.code(), asking.code()} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert await ids_of(client, collection) == [0, 1, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"vectors_config": models.VectorParams(size=0, distance=models.Distance.DOT)},
        {"vectors_config": models.VectorParams(size=70_000, distance=models.Distance.DOT)},
        {"hnsw_config": models.HnswConfigDiff(ef_construct=1)},
    ],
)
async def test_a_configuration_out_of_range_creates_nothing(
    client: AsyncQdrantClient, name: str, fields: dict[str, Any]
) -> None:
    plain = {"vectors_config": models.VectorParams(size=4, distance=models.Distance.DOT)}
    error = await refused(client.create_collection(name, **{**plain, **fields}))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not await client.collection_exists(name)


@needs_one_machine_server
@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a\\b", "x" * 256, "nul\0"])
async def test_a_name_that_cannot_be_a_folder_name_is_an_invalid_argument(client: AsyncQdrantClient, bad: str) -> None:
    request = messages.CreateCollection(collection_name=bad)
    request.vectors_config.params.size = 4
    request.vectors_config.params.distance = messages.Cosine
    assert (await refused(client.grpc_collections.Create(request))).code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "call",
    [
        lambda client, name: client.query_points(name, query=VECTOR, using="other"),
        lambda client, name: client.query_points(name, query=VECTOR, with_vectors=["other"]),
        lambda client, name: client.upsert(name, [models.PointStruct(id=9, vector={"other": VECTOR})], wait=True),
    ],
)
async def test_a_vector_name_that_the_collection_lacks_is_an_invalid_argument(
    client: AsyncQdrantClient, collection: str, call: Call
) -> None:
    assert (await refused(call(client, collection))).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await ids_of(client, collection) == [0, 1, 2]


SOME_FILTER = models.Filter(must=[models.HasIdCondition(has_id=[1])])


@needs_one_machine_server
@pytest.mark.parametrize(
    "call",
    [
        _query(query_filter=SOME_FILTER),
        _query(query=1),
        _query(query=None),
        _query(query=models.FusionQuery(fusion=models.Fusion.RRF)),
        _query(prefetch=models.Prefetch(query=VECTOR)),
        _query(search_params=models.SearchParams(acorn=models.AcornSearchParams(enable=True))),
        _query(consistency=models.ReadConsistencyType.ALL),
        _query(shard_key_selector="key"),
        lambda client, name: client.scroll(name, scroll_filter=SOME_FILTER),
        lambda client, name: client.scroll(name, order_by="key"),
        lambda client, name: client.count(name, count_filter=SOME_FILTER),
        lambda client, name: client.delete(name, models.FilterSelector(filter=SOME_FILTER)),
        lambda client, name: client.upsert(name, [models.PointStruct(id=9, vector=VECTOR)], update_filter=SOME_FILTER),
        lambda client, name: client.set_payload(name, {"a": 1}, points=[1]),
        lambda client, name: client.create_payload_index(name, "a", field_schema="keyword"),
        lambda client, name: client.update_collection(
            name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1)
        ),
        lambda client, name: client.query_batch_points(name, [models.QueryRequest(query=VECTOR)]),
        lambda client, name: client.get_collection_aliases(name),
    ],
)
async def test_an_unsupported_request_is_unimplemented_and_changes_nothing(
    client: AsyncQdrantClient, collection: str, call: Call
) -> None:
    assert (await refused(call(client, collection))).code() is grpc.StatusCode.UNIMPLEMENTED
    assert await ids_of(client, collection) == [0, 1, 2]


@needs_one_machine_server
@pytest.mark.parametrize(
    "fields",
    [
        {
            "vectors_config": {
                "named": models.VectorParams(
                    size=4, distance=models.Distance.DOT, hnsw_config=models.HnswConfigDiff(m=8)
                )
            }
        },
        {"sparse_vectors_config": {"sparse": models.SparseVectorParams()}},
        {"shard_number": 2},
        {"replication_factor": 2},
        {"wal_config": models.WalConfigDiff(wal_capacity_mb=1)},
        {"metadata": {"a": 1}},
        {"quantization_config": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))},
        {"vectors_config": models.VectorParams(size=4, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16)},
        {"optimizers_config": models.OptimizersConfigDiff(memmap_threshold=1)},
    ],
)
async def test_an_unsupported_configuration_creates_nothing(
    client: AsyncQdrantClient, name: str, fields: dict[str, Any]
) -> None:
    plain = {"vectors_config": models.VectorParams(size=4, distance=models.Distance.DOT)}
    error = await refused(client.create_collection(name, **{**plain, **fields}))

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not await client.collection_exists(name)


@needs_one_machine_server
async def test_a_field_newer_than_the_server_is_unimplemented(
    client: AsyncQdrantClient, collection: str, qdrant_address: tuple[str, int]
) -> None:
    host, port = qdrant_address
    newer = messages.CountPoints(collection_name=collection).SerializeToString() + b"\xca\x3e\x02hi"
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        count = channel.unary_unary("/qdrant.Points/Count", request_serializer=bytes, response_deserializer=bytes)
        error = await refused(count(newer))
        broken = await refused(count(b"\xff\xff\xff"))

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert broken.code() is grpc.StatusCode.INVALID_ARGUMENT
