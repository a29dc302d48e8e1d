"""Creating, describing, listing and deleting collections, on any Qdrant server."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from qdrant_client import AsyncQdrantClient, models

from tests.integration.local_qdrant.conftest import needs_one_machine_server
from tests.integration.local_qdrant.vectors import clustered, upsert
from tests.integration.local_qdrant.waiting import PROMPT_SECONDS, honest_status, settled
from tests.integration.qdrant_process import qdrant_health

PLAIN = models.VectorParams(size=8, distance=models.Distance.COSINE)


async def test_a_created_collection_exists_is_listed_and_green(client: AsyncQdrantClient, name: str) -> None:
    assert not await client.collection_exists(name)

    assert await client.create_collection(name, vectors_config=PLAIN) is True

    assert await client.collection_exists(name)
    assert name in [collection.name for collection in (await client.get_collections()).collections]
    info = await client.get_collection(name)
    assert info.status is models.CollectionStatus.GREEN
    assert info.points_count == 0


async def test_a_deleted_collection_is_gone_and_its_name_is_free(client: AsyncQdrantClient, name: str) -> None:
    await client.create_collection(name, vectors_config=PLAIN)
    await upsert(client, name, clustered(10, 8))

    assert await client.delete_collection(name) is True

    assert not await client.collection_exists(name)
    assert name not in [collection.name for collection in (await client.get_collections()).collections]
    assert await client.delete_collection(name) is False
    await client.create_collection(name, vectors_config=PLAIN)
    assert (await client.count(name)).count == 0


async def test_the_description_has_the_requested_configuration(client: AsyncQdrantClient, name: str) -> None:
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=24, distance=models.Distance.DOT, on_disk=True),
        hnsw_config=models.HnswConfigDiff(m=24, ef_construct=77),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=123),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        ),
        on_disk_payload=True,
        shard_number=1,
        replication_factor=1,
    )

    config = (await client.get_collection(name)).config

    assert isinstance(config.params.vectors, models.VectorParams)
    assert (config.params.vectors.size, config.params.vectors.distance) == (24, models.Distance.DOT)
    assert config.params.vectors.on_disk is True
    assert config.params.on_disk_payload is True
    assert (config.params.shard_number, config.params.replication_factor) == (1, 1)
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (24, 77)
    assert config.optimizer_config.indexing_threshold == 123
    assert isinstance(config.quantization_config, models.ScalarQuantization)
    assert config.quantization_config.scalar.quantile == pytest.approx(0.99)
    assert config.quantization_config.scalar.always_ram is True


@needs_one_machine_server
async def test_status_is_yellow_from_the_first_write_until_the_graph_is_built(
    client: AsyncQdrantClient, name: str
) -> None:
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=32, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100),
    )
    for first in (0, 3000):
        seen = set()
        for start in range(0, 3000, 300):
            await upsert(client, name, clustered(3000, 32, seed=first)[start : start + 300], first=first + start)
            seen.add(await honest_status(client, name))
        assert models.CollectionStatus.YELLOW in seen
        await settled(client, name)
        info = await client.get_collection(name)
        assert info.points_count == first + 3000
        assert (info.indexed_vectors_count or 0) >= first + 3000


async def test_a_collection_without_a_graph_turns_green_and_stays_exact(client: AsyncQdrantClient, name: str) -> None:
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(
            size=16, distance=models.Distance.DOT, on_disk=True, hnsw_config=models.HnswConfigDiff(m=0)
        ),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
    )
    vectors = clustered(3000, 16)
    await upsert(client, name, vectors)
    await settled(client, name)

    (point,) = await client.retrieve(name, [1234], with_vectors=True)
    assert point.vector == vectors[1234].tolist()
    assert (await client.count(name)).count == 3000


async def test_deleting_many_points_leaves_a_green_collection_without_them(
    client: AsyncQdrantClient, name: str
) -> None:
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=16, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=50),
    )
    vectors = clustered(3000, 16)
    await upsert(client, name, vectors)
    await settled(client, name)
    await client.delete(name, models.PointIdsList(points=list(range(2000))), wait=True)
    await settled(client, name)

    answer = await client.query_points(name, query=vectors[5].tolist(), limit=50)

    assert (await client.count(name)).count == 1000
    assert len(answer.points) == 50
    assert min(int(point.id) for point in answer.points) >= 2000


async def test_a_collection_can_be_deleted_while_it_is_optimized(client: AsyncQdrantClient, name: str) -> None:
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=256, distance=models.Distance.COSINE),
        hnsw_config=models.HnswConfigDiff(m=32, ef_construct=400),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100),
    )
    await upsert(client, name, clustered(1500, 256), size=500)
    await honest_status(client, name)

    async with asyncio.timeout(PROMPT_SECONDS):
        assert await client.delete_collection(name)

    assert not await client.collection_exists(name)


async def test_a_collection_can_be_created_while_the_same_name_is_being_deleted(
    client: AsyncQdrantClient, name: str
) -> None:
    for _ in range(5):
        await client.create_collection(name, vectors_config=PLAIN)
        await upsert(client, name, clustered(20, 8))
        await client.delete_collection(name)
    assert not await client.collection_exists(name)


async def test_both_health_checks_answer(client: AsyncQdrantClient, qdrant_address: tuple[str, int]) -> None:
    host, port = qdrant_address
    qdrant = await qdrant_health(f"{host}:{port}")
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        standard = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)

    assert qdrant.title.startswith("qdrant")
    assert qdrant.version
    assert standard.status == health_pb2.HealthCheckResponse.SERVING
