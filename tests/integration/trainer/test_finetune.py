"""A finetune from claim to publication, on real stores."""

import numpy as np
import pytest

from catalog.jobs import JobState
from catalog.vectors.generations import SHARED, TUNED
from catalog.vectors.projection import Projection, normalised
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("nothing_to_learn")]


async def test_each_image_is_indexed_once_and_finds_itself(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(60))
    job = await trainers.finetuned(collection)
    assert (job.state, job.progress, job.error_code) == (JobState.DONE, 100.0, None)
    exists, index = await workplace.indexes.live(collection)
    assert exists
    assert index is not None
    assert index.adapter_id is not None
    adapter = await workplace.adapters.get(index.adapter_id)
    assert adapter is not None
    projection = Projection.from_bytes(adapter.weights)
    page = await workplace.images.page(collection, 1, after=0, limit=100)
    present, base = await workplace.base_stores.of(collection, embedder.checksum).read([image.id for image in page])
    assert present == [image.id for image in page]
    for number in (0, 17, 59):
        tuned = projection.apply(base[number : number + 1])[0]
        hits = await workplace.generations.query(index.qdrant_collection, tuned, 60, None)
        assert hits[0].image_id == page[number].id
        assert hits[0].score >= 0.99
        assert sorted(hit.image_id for hit in hits) == present
    assert set(host.pictures_served.values()) == {1}
    assert set(embedder.embedded.values()) == {1}
    assert np.isfinite(base).all()


async def test_rows_removed_from_the_content_leave_the_index(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    urls = host.picture_urls(40)
    collection = await workplace.collection(urls)
    await trainers.finetuned(collection)
    ids = {image.image_url: image.id for image in await workplace.images.page(collection, 1, after=0, limit=100)}
    gone = [ids[url] for url in urls[5:15]]
    await workplace.fill(collection, urls[:5] + urls[15:])
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    assert index.dim is not None
    vector = np.ones(index.dim, np.float32)
    hits = await workplace.generations.query(index.qdrant_collection, vector, 100, None)
    assert sorted(hit.image_id for hit in hits) == sorted(set(ids.values()) - set(gone))


async def test_an_index_has_shared_vectors_only_if_the_backbone_has_a_text_tower(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(30))
    await trainers.finetuned(collection)
    _, before = await workplace.indexes.live(collection)
    assert before is not None
    assert before.shared_dim is None
    # The same backbone, now with its text tower: nothing is embedded again.
    embedder.text = True
    job = await workplace.finetune(collection, force=True)
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    assert index.shared_dim == DIMENSION
    assert set(embedder.embedded.values()) == {1}
    ids = [image.id for image in await workplace.images.page(collection, 1, after=0, limit=100)]
    _, base = await workplace.base_stores.of(collection, embedder.checksum).read(ids)
    shared = await workplace.generations.read(index.qdrant_collection, ids, SHARED)
    np.testing.assert_allclose([shared[identifier] for identifier in ids], normalised(base), atol=1e-6)
    for using, dim in ((TUNED, index.dim), (SHARED, index.shared_dim)):
        vector = (await workplace.generations.read(index.qdrant_collection, ids[:1], using))[ids[0]]
        assert len(vector) == dim
        hits = await workplace.generations.query(index.qdrant_collection, vector, 1, None, using)
        assert hits[0].image_id == ids[0]
