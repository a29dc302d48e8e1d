"""The janitor removes what is not needed, keeps what may be, and can run next to anything."""

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from catalog.jobs import JobState
from catalog.statistics import Statistics
from catalog.vectors.generations import Generations
from servicekit.errors import Unavailable
from tests.eventually import eventually
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace
from trainer.cleanup.janitor import Janitor
from trainer.cleanup.sweeps import Sweeps, SweptStores
from trainer.metrics import TrainerMetrics

pytestmark = pytest.mark.asyncio(loop_scope="session")


def janitor(place: Workplace, *, grace: float = 0.0) -> Janitor:
    stores = SweptStores(
        collections=place.collections,
        contents=place.contents,
        images=place.images,
        indexes=place.indexes,
        adapters=place.adapters,
        generations=place.generations,
        base_stores=place.base_stores,
        vectors=place.vectors,
    )
    sweeps = Sweeps(stores, TrainerMetrics(CollectorRegistry()), index_grace=grace, content_grace=grace)
    return Janitor(place.database, sweeps.by_name(), seconds=60.0)


async def names(place: Workplace) -> set[str]:
    """Return the names of this workplace's Qdrant collections."""
    return {found.name for found in await place.vectors.list()}


async def test_a_round_removes_what_was_replaced_and_keeps_what_is_live(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(5))
    assert (await trainers.finetuned(collection, janitor_seconds=60.0)).state is JobState.DONE
    _, old = await workplace.indexes.live(collection)
    gone = [image.id for image in await workplace.images.page(collection, 1, after=0, limit=3)]
    await workplace.fill(collection, host.picture_urls(4, first=3))
    assert (await trainers.finetuned(collection, janitor_seconds=60.0)).state is JobState.DONE
    _, live = await workplace.indexes.live(collection)
    assert old is not None
    assert live is not None
    store = workplace.base_stores.of(collection, embedder.checksum)
    views = workplace.base_stores.views_of(collection, embedder.checksum)
    assert await names(workplace) == {old.qdrant_collection, live.qdrant_collection, store.name, views.name}
    assert await janitor(workplace, grace=60.0).round()
    assert await names(workplace) == {old.qdrant_collection, live.qdrant_collection, store.name, views.name}
    assert await store.existing(gone) == set(gone)
    assert await janitor(workplace).round()
    assert await names(workplace) == {live.qdrant_collection, store.name, views.name}
    assert await store.existing(gone) == set()
    assert await workplace.images.count(collection, 2) == 4
    for table, count in (("images", 4), ("indexes", 1), ("adapters", 1), ("contents", 2)):
        assert await workplace.rows(f"SELECT count(*) FROM {table}") == [(count,)], table  # noqa: S608
    assert live.dim is not None
    hits = await workplace.generations.query(live.qdrant_collection, np.ones(live.dim, np.float32), 10, None)
    assert len(hits) == 4


async def test_qdrant_collections_without_a_row_go_and_those_of_others_stay(workplace: Workplace) -> None:
    collection = await workplace.collection(["https://example.org/1.jpg"])
    await workplace.finetune(collection)
    claimed = await workplace.jobs.claim("worker")
    assert claimed is not None
    index = await workplace.indexes.begin(claimed, "b" * 64)
    kept = workplace.base_stores.of(collection, "b" * 64)
    await kept.ensure(DIMENSION)
    other = f"{workplace.prefix}-x-c1-g1"
    for name in (index.qdrant_collection, f"{workplace.prefix}-c{collection}-g999", other):
        await workplace.generations.create(name, 8)
    await workplace.base_stores.of(collection + 1, "b" * 64).ensure(DIMENSION)
    try:
        assert await janitor(workplace).round()
        assert await names(workplace) == {index.qdrant_collection, kept.name}
        listed = await workplace.client.collection_names()
        assert other in listed
    finally:
        await workplace.generations.drop(other)


@pytest.mark.usefixtures("nothing_to_learn")
async def test_rounds_do_not_disturb_running_jobs(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collections = [await workplace.collection(host.picture_urls(12, first=100 * number)) for number in range(2)]
    rounds = janitor(workplace)
    stop = asyncio.Event()

    async def clean() -> None:
        while not stop.is_set():
            await rounds.round()

    async with trainers.running(janitor_seconds=0.05, index_grace_seconds=0.0, concurrent_jobs=2):
        cleaning = asyncio.create_task(clean())
        for _ in range(2):
            jobs = [await workplace.finetune(collection, force=True) for collection in collections]
            assert {(await trainers.ended(job)).state for job in jobs} == {JobState.DONE}
        stop.set()
        await cleaning
    assert set(embedder.embedded.values()) == {1}
    for collection in collections:
        _, live = await workplace.indexes.live(collection)
        assert live is not None
        assert live.qdrant_collection in await names(workplace)


async def test_a_collection_that_cannot_be_removed_does_not_stop_the_others(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    collections = [await workplace.collection([f"https://example.org/{number}.jpg"]) for number in range(3)]
    stores = [workplace.base_stores.of(collection, "b" * 64) for collection in collections]
    for collection, store in zip(collections, stores, strict=True):
        await store.ensure(DIMENSION)
        await workplace.collections.mark_deleting(collection)
    drop = Generations.drop

    async def damaged(self: Generations, name: str) -> None:
        if name == stores[0].name:
            raise Unavailable("Vectors on disk are damaged.", code="vectors_damaged")
        await drop(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Generations, "drop", damaged)
        assert await janitor(workplace).round()
    assert await workplace.rows("SELECT id FROM collections") == [(collections[0],)]
    assert await names(workplace) == {stores[0].name}
    assert await janitor(workplace).round()
    assert await workplace.rows("SELECT id FROM collections") == []
    assert await names(workplace) == set()


async def test_a_lost_index_is_noticed_and_made_again_from_the_stored_vectors(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(4))
    assert (await trainers.finetuned(collection, janitor_seconds=60.0)).state is JobState.DONE
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    await workplace.generations.drop(index.qdrant_collection)
    assert (await workplace.collections.get(collection)).live_is_newest
    assert await janitor(workplace).round()
    assert not (await workplace.collections.get(collection)).live_is_newest
    assert (await Statistics(workplace.database).snapshot()).lost_indexes == 1
    embedded = embedder.embedded.total()
    assert (await trainers.finetuned(collection, janitor_seconds=60.0)).state is JobState.DONE
    assert embedder.embedded.total() == embedded
    _, rebuilt = await workplace.indexes.live(collection)
    assert rebuilt is not None
    assert await workplace.generations.readable(rebuilt.qdrant_collection)
    assert (await Statistics(workplace.database).snapshot()).lost_indexes == 0


async def test_an_index_whose_vectors_come_back_is_not_lost_any_more(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(4))
    assert (await trainers.finetuned(collection, janitor_seconds=60.0)).state is JobState.DONE
    _, index = await workplace.indexes.live(collection)
    assert index is not None
    assert await workplace.indexes.mark_lost(index.id)
    assert not await workplace.indexes.mark_lost(index.id)
    assert await janitor(workplace).round()
    assert (await workplace.collections.get(collection)).live_is_newest


async def test_only_one_replica_at_a_time_runs_a_round(workplace: Workplace) -> None:
    blocked, going = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        going.set()
        await blocked.wait()

    first = Janitor(workplace.database, {"wait": wait}, seconds=60.0)
    running = asyncio.create_task(first.round())
    await going.wait()
    assert not await janitor(workplace).round()
    blocked.set()
    assert await running
    assert await janitor(workplace).round()


async def test_a_failing_sweep_does_not_stop_the_others(workplace: Workplace) -> None:
    done = []

    async def fail() -> None:
        raise RuntimeError("a defect")

    async def work() -> None:
        done.append(True)

    async with Janitor(workplace.database, {"fail": fail, "work": work}, seconds=0.01).running():
        await eventually(lambda: len(done) >= 2)
