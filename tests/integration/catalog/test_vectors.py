"""Base stores and generations, on the one-machine Qdrant or on a server."""

import asyncio

import numpy as np
import pytest

from catalog.vectors.base_store import BaseStore
from catalog.vectors.client import QdrantAddress, VectorsMissing, open_qdrant
from catalog.vectors.generations import SHARED, TUNED, GenerationIncomplete
from catalog.vectors.names import VectorCollection
from catalog.vectors.projection import normalised
from servicekit.errors import DeadlineExceeded, Unavailable
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

DIM = 32


def vectors(count: int, seed: int = 0) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Draw distinct unit vectors [count, DIM]."""
    return normalised(np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32))


async def new_store(place: Workplace) -> BaseStore:
    store = place.base_stores.of(1, "0123456789abcdef" * 4)
    await store.ensure(DIM)
    return store


async def test_base_vectors_read_back_unchanged(workplace: Workplace) -> None:
    store = await new_store(workplace)
    # Not of length 1: the store must not normalise.
    put = vectors(600) * np.linspace(0.1, 90, 600, dtype=np.float32)[:, None]
    ids = list(range(10, 610))
    await store.put(ids[:300], put[:300])
    await store.put(ids[300:], put[300:])
    assert await store.existing([5, 10, 609, 610]) == {10, 609}
    asked = [609, 7, 10, 300]
    present, read = await store.read(asked)
    assert present == [609, 10, 300]
    np.testing.assert_array_equal(read, put[[599, 0, 290]])
    await store.put([10], put[5:6])
    np.testing.assert_array_equal((await store.read([10]))[1], put[5:6])
    await store.remove([10, 609, 12345])
    assert await store.existing([10, 11, 609]) == {11}


async def test_an_empty_store_has_no_vectors(workplace: Workplace) -> None:
    store = await new_store(workplace)
    assert await store.existing([1, 2]) == set()
    present, read = await store.read([1, 2])
    assert present == []
    assert len(read) == 0


async def test_ensuring_a_store_concurrently_keeps_its_vectors(workplace: Workplace) -> None:
    store = await new_store(workplace)
    await store.put([1], vectors(1))
    await asyncio.gather(*(store.ensure(DIM) for _ in range(5)))
    assert await store.existing([1]) == {1}
    other = workplace.base_stores.of(2, "f" * 64)
    await asyncio.gather(*(other.ensure(DIM) for _ in range(5)))


async def test_an_indexed_generation_can_be_searched(workplace: Workplace) -> None:
    name = f"{workplace.prefix}-c1-g1"
    written = vectors(2000)
    await workplace.generations.create(name, DIM)
    for start in range(0, 2000, 500):
        await workplace.generations.put(name, list(range(start + 1, start + 501)), written[start : start + 500])
    async with asyncio.timeout(60):
        await workplace.generations.wait_until_indexed(name, 2000)
    for number in (0, 999, 1999):
        hits = await workplace.generations.query(name, written[number], 10, None)
        assert (len(hits), hits[0].image_id) == (10, number + 1)
        assert 0.99 <= hits[0].score <= 1.0
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        exact = written @ written[number]
        assert abs(hits[1].score - np.sort(exact)[-2]) < 1e-3
        above = await workplace.generations.query(name, written[number], 10, 0.9)
        assert [hit.image_id for hit in above] == [number + 1]


async def test_a_generation_with_shared_vectors_is_searched_in_each_of_its_spaces(workplace: Workplace) -> None:
    name = f"{workplace.prefix}-c1-g1"
    tuned, shared = vectors(400), normalised(np.random.default_rng(1).normal(size=(400, 48)).astype(np.float32))
    await workplace.generations.create(name, DIM, 48)
    await workplace.generations.put(name, range(1, 401), tuned, shared)
    async with asyncio.timeout(60):
        await workplace.generations.wait_until_indexed(name, 400)
    for using, rows in ((TUNED, tuned), (SHARED, shared)):
        hits = await workplace.generations.query(name, rows[6], 10, None, using)
        exact = rows @ rows[6]
        assert [hit.image_id - 1 for hit in hits] == np.argsort(-exact)[:10].tolist()
        assert [hit.score for hit in hits] == pytest.approx(np.sort(exact)[::-1][:10], abs=1e-5)
        read = await workplace.generations.read(name, [7, 400], using)
        np.testing.assert_allclose(read[400], rows[399], atol=1e-6)
        assert set(read) == {7, 400}


async def test_a_sample_of_a_generation_is_uniform_and_the_same_each_time(workplace: Workplace) -> None:
    name = f"{workplace.prefix}-c1-g1"
    # The first number of a vector says which image it belongs to.
    ids = np.arange(1, 2001)
    shared = np.stack([np.cos(ids / 1000), np.sin(ids / 1000)], axis=1).astype(np.float32)
    await workplace.generations.create(name, DIM, 2)
    await workplace.generations.put(name, ids.tolist(), vectors(2000), shared)
    sample = await workplace.generations.sample(name, 600, SHARED)
    found = np.rint(np.arctan2(sample[:, 1], sample[:, 0]) * 1000).astype(int)
    assert len(set(found.tolist())) == 600
    # The mean of 600 of the numbers up to 2000 has a standard error of 20.
    assert abs(found.mean() - 1000) < 100
    np.testing.assert_array_equal(sample, await workplace.generations.sample(name, 600, SHARED))
    assert len(await workplace.generations.sample(name, 5000, SHARED)) == 2000


async def test_a_generation_whose_points_have_plain_image_ids_can_still_be_searched(workplace: Workplace) -> None:
    name = f"{workplace.prefix}-c1-g1"
    written = vectors(100)
    await workplace.generations.create(name, DIM)
    await workplace.client.put_points(name, range(1, 101), written)
    await workplace.generations.wait_until_indexed(name, 100)
    hits = await workplace.generations.query(name, written[41], 100, None)
    assert hits[0].image_id == 42
    assert sorted(hit.image_id for hit in hits) == list(range(1, 101))


async def test_a_generation_that_lacks_vectors_is_incomplete(workplace: Workplace) -> None:
    name = f"{workplace.prefix}-c1-g1"
    await workplace.generations.create(name, DIM)
    await workplace.generations.put(name, [1, 2], vectors(2))
    with pytest.raises(GenerationIncomplete):
        await workplace.generations.wait_until_indexed(name, 3)


async def test_only_our_own_qdrant_collections_are_listed(workplace: Workplace) -> None:
    store = await new_store(workplace)
    generation = f"{workplace.prefix}-c12-g34"
    strange = f"{workplace.prefix}-c12-x1"
    for name in (generation, strange, f"other-{workplace.prefix}-c1-g1"):
        await workplace.generations.create(name, DIM)
    found = sorted(await workplace.vectors.list(), key=lambda collection: collection.collection_id)
    assert found == [
        VectorCollection(store.name, 1, "0123456789abcdef"),
        VectorCollection(generation, 12, None),
    ]
    await workplace.generations.drop(generation)
    await workplace.generations.drop(generation)
    assert [collection.name for collection in await workplace.vectors.list()] == [store.name]


async def test_a_missing_qdrant_collection_is_reported_as_missing_vectors(workplace: Workplace) -> None:
    store = workplace.base_stores.of(1, "0" * 64)
    for call in (
        store.existing([1]),
        store.put([1], vectors(1)),
        workplace.generations.put("nothing", [1], vectors(1)),
        workplace.generations.query("nothing", vectors(1)[0], 1, None),
        workplace.generations.wait_until_indexed("nothing", 1),
    ):
        with pytest.raises(VectorsMissing):
            await call
    await store.drop()


async def test_an_unreachable_qdrant_is_unavailable() -> None:
    async with open_qdrant(QdrantAddress("127.0.0.1:1")) as client:
        store = BaseStore(client, "store")
        for call in (store.existing([1]), store.put([1], vectors(1)), store.ensure(DIM), store.drop()):
            with pytest.raises((Unavailable, DeadlineExceeded)):
                await call
