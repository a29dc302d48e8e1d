"""A collection with a live index, without a trainer."""

import numpy as np

from catalog.indexes import Index
from tests.integration.workplace import Workplace

BACKBONE = "b" * 64
DIM = 8
IMAGES = 40
VECTORS = np.random.default_rng(0).normal(size=(IMAGES, DIM)).astype(np.float32)


async def filled(place: Workplace) -> tuple[int, Index]:
    """Make a collection with a live index."""
    collection = await place.collection([f"https://example.org/{number}.jpg" for number in range(IMAGES)])
    await place.finetune(collection)
    job = await place.jobs.claim("worker")
    assert job is not None
    index = await place.indexes.begin(job, BACKBONE)
    ids = [image.id for image in await place.images.page(collection, job.revision, after=0, limit=IMAGES)]
    store = place.base_stores.of(collection, BACKBONE)
    await store.ensure(DIM)
    await store.put(ids, VECTORS)
    await place.generations.create(index.qdrant_collection, DIM)
    await place.generations.put(index.qdrant_collection, ids, VECTORS)
    await place.generations.wait_until_indexed(index.qdrant_collection, IMAGES)
    await place.jobs.publish(job, index.id, IMAGES)
    return collection, index
