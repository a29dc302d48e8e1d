"""A finetune from claim to publication, on real stores."""

import numpy as np
import pytest

from catalog.jobs import JobState
from catalog.vectors.projection import Projection
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder
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
