"""The index builder on real stores: images with equal vectors share a point, and all of them are found."""

from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from catalog.images import Image
from catalog.indexed_images import IndexedImages
from catalog.vectors.generations import SHARED, TUNED
from catalog.vectors.projection import Matrix, Projection, normalised
from tests.integration.workplace import Workplace
from trainer.index.base_vectors import PAGE_SIZE, VectorPage, revision_pages
from trainer.index.build import IndexBuilder
from trainer.jobs.retry import Retry

pytestmark = pytest.mark.asyncio(loop_scope="session")

DIM = 32
PHOTOGRAPHS, COPIES = 200, 60


@dataclass(frozen=True)
class Pages:
    """Images and their vectors, page by page."""

    images: list[Image]
    vectors: Matrix

    async def pages(self) -> AsyncGenerator[VectorPage, None]:
        for start in range(0, len(self.images), PAGE_SIZE):
            rows = self.images[start : start + PAGE_SIZE]
            yield VectorPage(rows, self.vectors[start : start + PAGE_SIZE], len(rows))


async def test_200_photographs_in_60_rows_each_are_found_with_exactly_their_rows(workplace: Workplace) -> None:
    photographs = normalised(np.random.default_rng(0).normal(size=(PHOTOGRAPHS, DIM)).astype(np.float32))
    collection = await workplace.collection([f"https://example.org/{row}" for row in range(PHOTOGRAPHS * COPIES)])
    await workplace.finetune(collection)
    job = await workplace.jobs.claim("worker")
    assert job is not None
    index = await workplace.indexes.begin(job, "b")
    images = [image async for page in revision_pages(workplace.images, job, 5000) for image in page]
    rows = Pages(images, np.repeat(photographs, COPIES, axis=0))
    indexed = IndexedImages(workplace.database)
    read: list[int] = []
    with ThreadPoolExecutor(1) as executor:
        builder = IndexBuilder(workplace.generations, indexed, Retry(10.0), executor)
        built = await builder.run(index, rows, Projection(np.eye(DIM, dtype=np.float32)), read.append)
    assert built.images == sum(read) == PHOTOGRAPHS * COPIES
    assert await workplace.client.count_points(index.qdrant_collection) == PHOTOGRAPHS
    for number, photograph in enumerate(photographs):
        hits = await workplace.generations.query(index.qdrant_collection, photograph, 10, 0.99)
        found = await indexed.of_points(index, [hit.image_id for hit in hits], 1000)
        assert [row.image for row in found] == images[number * COPIES : (number + 1) * COPIES]


async def test_the_backbones_own_vectors_are_written_if_texts_are_compared_with_them(workplace: Workplace) -> None:
    photographs = np.random.default_rng(0).normal(size=(40, DIM)).astype(np.float32)
    collection = await workplace.collection([f"https://example.org/{row}" for row in range(40)])
    await workplace.finetune(collection)
    job = await workplace.jobs.claim("worker")
    assert job is not None
    index = await workplace.indexes.begin(job, "b", shared_dim=DIM)
    images = [image async for page in revision_pages(workplace.images, job, 5000) for image in page]
    projection = Projection(np.random.default_rng(1).normal(size=(DIM, 8)).astype(np.float32))
    with ThreadPoolExecutor(1) as executor:
        builder = IndexBuilder(workplace.generations, IndexedImages(workplace.database), Retry(10.0), executor)
        changed = await builder.run(index, Pages(images, photographs + 1), projection, lambda _: None)
        fewer = await builder.run(index, Pages(images[1:], photographs[1:]), projection, lambda _: None)
        built = await builder.run(index, Pages(images, photographs), projection, lambda _: None)
        again = await builder.run(index, Pages(images, photographs), projection, lambda _: None)
    assert built == again
    assert len({changed.vectors, fewer.vectors, built.vectors}) == 3
    ids = [image.id for image in images]
    name = index.qdrant_collection
    tuned = await workplace.generations.read(name, ids, TUNED)
    shared = await workplace.generations.read(name, ids, SHARED)
    np.testing.assert_allclose([tuned[each] for each in ids], projection.apply(photographs), atol=1e-6)
    np.testing.assert_allclose([shared[each] for each in ids], normalised(photographs), atol=1e-6)
