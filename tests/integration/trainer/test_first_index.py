"""A collection can be searched before its adapter is learned."""

import json

import pytest

from catalog.index_history import IndexHistory
from catalog.indexes import Index
from catalog.jobs import JobState
from catalog.vectors.projection import Projection
from tests.eventually import eventually
from tests.integration.trainer.conftest import Trainers, until
from tests.integration.trainer.parts.faults import status
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder
from tests.integration.trainer.parts.trainer_process import trainer_process
from tests.integration.workplace import Workplace
from trainer.adapter import fit as learned_adapter

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("quick_to_learn")]

IMAGES = 60
LEASE_SECONDS = 4.0


@pytest.fixture
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish the PCA instead of a learned adapter, after a first index."""
    monkeypatch.setattr(learned_adapter, "MIN_IMAGES", 1_000_000)


async def live(workplace: Workplace, collection: int) -> Index | None:
    return (await workplace.indexes.live(collection))[1]


async def test_a_collection_is_searchable_before_its_adapter_is_learned(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    host.answers |= {"bad": status(404)}
    collection = await workplace.collection([*host.picture_urls(IMAGES), host.url("bad")])
    history = IndexHistory(workplace.database)
    job = await workplace.finetune(collection)
    embedder.delay = 0.02
    async with trainers.running():
        await until(lambda: _is_live(workplace, collection))
        first = await live(workplace, collection)
        assert first is not None
        running = await workplace.jobs.get(job.id)
        assert running.state is JobState.RUNNING
        # Heartbeats report the phase twice a second.
        await until(lambda: _is_in_phase(workplace, job.id, "first_index", "views"))
        (listed,) = await history.newest(collection, 10)
        assert (listed.id, listed.live, listed.image_count) == (first.id, True, IMAGES)
        assert listed.failures == {"not_found": 1}
        assert json.loads(listed.quality or "")["provisional"]
        collection_now = await workplace.collections.get(collection)
        assert collection_now is not None
        assert collection_now.requires_finetuning(embedder.checksum)
        # A copy of an indexed image scores at least 0.99.
        hits = await _search(workplace, first, embedder)
        assert hits[0][1] >= 0.99
        assert (await trainers.ended(job)).state is JobState.DONE
    collection_now = await workplace.collections.get(collection)
    assert collection_now is not None
    assert not collection_now.requires_finetuning(embedder.checksum)
    last = await live(workplace, collection)
    assert last is not None
    assert last.id > first.id
    # The provisional index has left the list, and can still be cited.
    (listed,) = await history.newest(collection, 10)
    assert (listed.id, listed.failures) == (last.id, {"not_found": 1})
    assert "provisional" not in json.loads(listed.quality or "")
    assert (await history.get(collection, first.id)).failures == {"not_found": 1}
    # Each image was downloaded once, and its views were made from that download.
    assert set(host.pictures_served.values()) == {1}
    assert set(embedder.embedded.values()) == set(embedder.viewed.values()) == {1}
    assert await _viewed(workplace, collection, embedder) == IMAGES


async def test_a_kill_while_views_are_embedded_repeats_no_download(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    images = 120
    collection = await workplace.collection(host.picture_urls(images))
    job = await workplace.finetune(collection)
    embedder.delay = 0.01
    async with trainer_process(trainers.settings(lease_seconds=LEASE_SECONDS)) as process:
        await eventually(lambda: embedder.viewed.total() > images // 2)
        assert embedder.viewed.total() < images, "all views were embedded before the kill"
        process.kill()
        await process.wait()
    first = await live(workplace, collection)
    assert first is not None
    async with trainers.running(lease_seconds=LEASE_SECONDS):
        assert (await trainers.ended(job)).state is JobState.DONE
    assert set(host.pictures_served.values()) == set(embedder.embedded.values()) == {1}
    assert embedder.viewed.total() - len(embedder.viewed) <= images * 5 // 100
    assert await _viewed(workplace, collection, embedder) == images


async def test_views_of_images_that_were_not_kept_need_a_second_download(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    """As on another machine, which takes over a job."""
    collection = await workplace.collection(host.picture_urls(IMAGES))
    job = await workplace.finetune(collection)
    embedder.delay = 0.02
    async with trainers.running():
        await until(lambda: _is_live(workplace, collection))
        before = embedder.viewed.total()
        assert before < IMAGES
    embedder.delay = 0.0
    async with trainers.running(kept_images_directory="/proc/nowhere"):
        assert (await trainers.ended(job)).state is JobState.DONE
    assert set(embedder.embedded.values()) == {1}
    assert await _viewed(workplace, collection, embedder) == IMAGES
    again = sum(host.pictures_served.values()) - IMAGES
    assert 0 < again <= IMAGES - before + 4


async def test_a_cancelled_finetune_leaves_the_first_index_and_the_next_one_goes_on(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(IMAGES))
    job = await workplace.finetune(collection)
    embedder.delay = 0.02
    async with trainers.running():
        await until(lambda: _is_live(workplace, collection))
        await workplace.jobs.cancel_active(collection)
        assert (await trainers.ended(job)).state is JobState.CANCELLED
    first = await live(workplace, collection)
    assert first is not None
    assert (await _search(workplace, first, embedder))[0][1] >= 0.99
    # The content is indexed, but there is something to learn.
    again = await workplace.finetune(collection)
    embedder.delay = 0.0
    async with trainers.running():
        assert (await trainers.ended(again)).state is JobState.DONE
    assert again.id != job.id
    assert set(embedder.embedded.values()) == {1}
    assert await _viewed(workplace, collection, embedder) == IMAGES
    assert (await workplace.jobs.enqueue(collection, backbone=embedder.checksum, force=False)) == (None, False)


async def test_only_a_collection_that_cannot_be_searched_gets_a_first_index(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    urls = host.picture_urls(IMAGES + 5)
    collection = await workplace.collection(urls[:IMAGES])
    await trainers.finetuned(collection)
    await workplace.fill(collection, urls)
    await trainers.finetuned(collection)
    assert len(await IndexHistory(workplace.database).newest(collection, 10)) == 2
    # The views of the new images were embedded with them.
    assert (len(embedder.viewed), len(embedder.embedded)) == (IMAGES, IMAGES + 5)
    assert await _viewed(workplace, collection, embedder) == IMAGES + 5
    # Another backbone cannot search the index.
    embedder.checksum = "pixels-2-" + "0" * 55
    job = await workplace.finetune(collection, force=True)
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    assert len(embedder.viewed) == IMAGES + 5
    assert len(await IndexHistory(workplace.database).newest(collection, 10)) == 3


async def _is_in_phase(workplace: Workplace, job: int, *phases: str) -> bool:
    return (await workplace.jobs.get(job)).phase in phases


async def _is_live(workplace: Workplace, collection: int) -> bool:
    return await live(workplace, collection) is not None


async def _search(workplace: Workplace, index: Index, embedder: PixelEmbedder) -> list[tuple[int, float]]:
    """Search for the first image by its base vector. Returns ids and scores."""
    assert index.adapter_id is not None
    adapter = await workplace.adapters.get(index.adapter_id)
    assert adapter is not None
    (image,) = await workplace.images.page(index.collection_id, index.revision, after=0, limit=1)
    _, base = await workplace.base_stores.of(index.collection_id, embedder.checksum).read([image.id])
    tuned = Projection.from_bytes(adapter.weights).apply(base)[0]
    hits = await workplace.generations.query(index.qdrant_collection, tuned, 3, None)
    assert hits[0].image_id == image.id
    return [(hit.image_id, hit.score) for hit in hits]


async def _viewed(workplace: Workplace, collection: int, embedder: PixelEmbedder) -> int:
    """The number of images with stored views."""
    index = await live(workplace, collection)
    assert index is not None
    page = await workplace.images.page(collection, index.revision, after=0, limit=1000)
    stored = workplace.base_stores.views_of(collection, embedder.checksum)
    return len(await stored.existing([image.id for image in page]))
