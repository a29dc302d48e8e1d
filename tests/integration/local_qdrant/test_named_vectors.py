"""Points with several named vectors, on any Qdrant server."""

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from tests.integration.local_qdrant.vectors import clustered, nearest

SIZES = {"tuned": 8, "shared": 12}
NUMBER = 300


@pytest.fixture
async def collection(client: AsyncQdrantClient, name: str) -> str:
    await client.create_collection(
        name,
        vectors_config={
            vector: models.VectorParams(size=size, distance=models.Distance.COSINE, on_disk=True)
            for vector, size in SIZES.items()
        },
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        ),
    )
    return name


async def written(client: AsyncQdrantClient, name: str) -> dict[str, np.ndarray]:
    vectors = {vector: clustered(NUMBER, size, seed=size) for vector, size in SIZES.items()}
    points = [
        models.PointStruct(id=number, vector={vector: rows[number].tolist() for vector, rows in vectors.items()})
        for number in range(NUMBER)
    ]
    await client.upsert(name, points, wait=True)
    return vectors


async def test_each_vector_is_searched_by_its_name(client: AsyncQdrantClient, collection: str) -> None:
    vectors = await written(client, collection)
    for name, rows in vectors.items():
        answer = await client.query_points(
            collection,
            query=rows[7].tolist(),
            using=name,
            limit=5,
            search_params=models.SearchParams(
                quantization=models.QuantizationSearchParams(rescore=True, oversampling=3.0)
            ),
        )
        assert [point.id for point in answer.points] == nearest(rows, rows[7], 5)


async def test_the_vectors_that_are_named_are_returned(client: AsyncQdrantClient, collection: str) -> None:
    await written(client, collection)
    for wanted, names in ((["shared"], {"shared"}), (True, set(SIZES))):
        (point,) = await client.retrieve(collection, [1], with_vectors=wanted)
        assert isinstance(point.vector, dict)
        assert set(point.vector) == names
    records, _ = await client.scroll(collection, limit=10, with_vectors=["tuned"])
    assert len(records) == 10
    assert all(isinstance(point.vector, dict) and set(point.vector) == {"tuned"} for point in records)


async def test_the_description_has_the_named_vectors(client: AsyncQdrantClient, collection: str) -> None:
    vectors = (await client.get_collection(collection)).config.params.vectors
    assert isinstance(vectors, dict)
    assert {name: vector.size for name, vector in vectors.items()} == SIZES


async def test_a_vector_that_the_collection_lacks_is_refused(client: AsyncQdrantClient, collection: str) -> None:
    await written(client, collection)
    for call in (
        client.query_points(collection, query=[1.0] * 8, using="other"),
        client.query_points(collection, query=[1.0] * 8, using="shared"),
        client.upsert(collection, [models.PointStruct(id=1, vector={"other": [1.0] * 8})], wait=True),
    ):
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            await call
