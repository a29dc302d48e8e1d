"""A job survives the loss of its worker and of the services that it uses, and repeats next to no work."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

import psutil
import pytest
from structlog.testing import capture_logs

from catalog.jobs import Job, JobState
from catalog.vectors.base_store import BaseStore
from catalog.vectors.client import Qdrant, VectorsDamaged
from servicekit.errors import ServiceError
from tests.eventually import eventually
from tests.integration.databases import kill_postgres
from tests.integration.trainer.conftest import Trainers, until
from tests.integration.trainer.parts.faults import status
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder, pixel_embedder
from tests.integration.trainer.parts.trainer_process import stop, trainer_process
from tests.integration.workplace import Workplace
from tests.ports import free_port
from tests.processes import gone, offspring

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = 120
# At most 5 % may be embedded twice.
TWICE = IMAGES * 5 // 100
# For workers that get killed: short, yet long enough that a busy machine loses no lease by accident.
LEASE_SECONDS = 4.0


async def indexed(workplace: Workplace, job: Job) -> list[tuple[object, ...]]:
    """The number of images in the live index of the job's collection."""
    return await workplace.rows(
        "SELECT i.image_count FROM collections c JOIN indexes i ON i.id = c.live_index WHERE c.id = $1",
        job.collection_id,
    )


def repeated(counts: dict[str, int]) -> int:
    """How many counts are repetitions."""
    return sum(counts.values()) - len(counts)


def embedded_at_least(embedder: PixelEmbedder, images: int) -> bool:
    return embedder.embedded.total() >= images


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_killed_trainer_loses_at_most_five_percent_of_its_work(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    host.answers |= {"bad": status(404)}
    embedder.delay = 0.005
    job = await workplace.finetune(await workplace.collection([host.url("bad"), *host.picture_urls(IMAGES)]))
    settings = trainers.settings(lease_seconds=LEASE_SECONDS)
    async with trainer_process(settings) as process:
        await eventually(lambda: embedder.embedded.total() >= IMAGES * 0.7)
        process.kill()
        await process.wait()
    async with trainers.running(lease_seconds=LEASE_SECONDS):
        assert (await trainers.ended(job)).state is JobState.DONE
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert len(embedder.embedded) == IMAGES
    assert repeated(embedder.embedded) <= TWICE
    assert host.requests["bad"] == 1
    assert await workplace.rows("SELECT reason FROM image_failures") == [("not_found",)]


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_job_whose_trainers_keep_getting_killed_still_completes(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    settings = trainers.settings(lease_seconds=LEASE_SECONDS)
    embedder.delay = 0.01
    for images in (1, IMAGES // 3):
        target = embedder.embedded.total() + images
        async with trainer_process(settings) as process:
            await eventually(partial(embedded_at_least, embedder, target))
            process.kill()
    async with trainers.running(lease_seconds=LEASE_SECONDS):
        assert (await trainers.ended(job)).state is JobState.DONE
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert repeated(embedder.embedded) <= 2 * TWICE


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_trainer_that_stops_gives_its_job_back_at_once(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    embedder.delay = 0.01
    async with trainer_process(trainers.settings()) as process:
        await eventually(lambda: embedder.embedded.total() > 20)
        assert await stop(process) == 0
    found = await workplace.jobs.get(job.id)
    assert (found.state, found.attempts) == (JobState.QUEUED, 0)
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    assert repeated(embedder.embedded) <= TWICE


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_broken_stream_is_reconnected(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    embedder.break_after = IMAGES // 2
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    assert embedder.streams == 2
    assert repeated(embedder.embedded) <= TWICE
    assert set(host.pictures_served.values()) == {1}


@pytest.mark.usefixtures("nothing_to_learn")
async def test_all_replicas_of_the_embedder_are_used_and_losing_one_repeats_no_answered_image(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    # Enough images at a time for several calls.
    images = 600
    embedder.delay = 0.005
    job = await workplace.finetune(await workplace.collection(host.picture_urls(images)))
    async with AsyncExitStack() as stack:
        first = PixelEmbedder()
        first.delay = embedder.delay
        leaving = await stack.enter_async_context(AsyncExitStack())
        await leaving.enter_async_context(pixel_embedder(embedder=first))
        target = f"ipv4:{first.target},{embedder.target}"
        await stack.enter_async_context(
            trainers.running(embedder_address=target, downloads_per_host=32, download_concurrency=64)
        )
        await eventually(lambda: first.embedded.total() > images // 5 and embedder.embedded.total() > images // 20)
        await leaving.aclose()
        async with asyncio.timeout(90):
            while (await workplace.jobs.get(job.id)).phase == "fetching":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    (store,) = [found for found in await workplace.vectors.list() if "-bpixels-" in found.name]
    assert await workplace.client.count_points(store.name) == images
    assert repeated(first.embedded + embedder.embedded) <= 64
    assert set(host.pictures_served.values()) == {1}


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_job_waits_for_an_embedder_that_is_down(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    first = PixelEmbedder()
    first.delay = 0.005
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(AsyncExitStack())
        await serving.enter_async_context(pixel_embedder(f"127.0.0.1:{free_port()}", first))
        await stack.enter_async_context(trainers.running(embedder_address=first.target))
        await eventually(lambda: first.embedded.total() > IMAGES // 2)
        with capture_logs() as events:
            await serving.aclose()
            await eventually(lambda: any(event["event"] == "embedder_wait" for event in events))
        assert (await workplace.jobs.get(job.id)).state is JobState.RUNNING
        async with pixel_embedder(first.target, first):
            assert (await trainers.ended(job)).state is JobState.DONE
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert repeated(first.embedded) <= TWICE
    assert set(host.pictures_served.values()) == {1}


async def test_a_job_fails_if_the_embedder_stays_down(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(3))
    job = await trainers.finetuned(collection, embedder_address="127.0.0.1:1", patience_seconds=0.5)
    assert (job.state, job.error_code) == (JobState.FAILED, "embedder_unavailable")


async def survives(
    trainers: Trainers,
    workplace: Workplace,
    host: ImageHost,
    embedder: PixelEmbedder,
    kill: Callable[[], Sequence[psutil.Process]],
) -> None:
    """Check that a job completes, without repeating work, when `kill` ends processes halfway."""

    async def database_answers() -> bool:
        with suppress(ServiceError):
            await workplace.database.ping()
            return True
        return False

    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    embedder.delay = 0.005
    async with trainers.running():
        await eventually(lambda: embedder.embedded.total() > IMAGES // 2)
        killed = kill()
        assert killed, "there was nothing to kill"
        assert embedder.embedded.total() < IMAGES, "the images were embedded before the kill"
        await eventually(lambda: gone(killed))
        await until(database_answers)
        assert (await trainers.ended(job)).state is JobState.DONE
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert repeated(embedder.embedded) <= TWICE


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_job_survives_a_kill_of_postgres(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    await survives(trainers, workplace, host, embedder, lambda: [kill_postgres(workplace.database_url)])


@pytest.mark.usefixtures("nothing_to_learn")
@pytest.mark.skipif("SIMILIS_TEST_QDRANT" in os.environ, reason="that Qdrant is not ours to kill")
async def test_a_job_survives_a_kill_of_the_local_qdrants_engines(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    def kill() -> list[psutil.Process]:
        engines = offspring("local_qdrant.engine.loop")
        for engine in engines:
            engine.kill()
        return engines

    await survives(trainers, workplace, host, embedder, kill)


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_damaged_base_store_is_made_anew_from_the_images(
    trainers: Trainers,
    workplace: Workplace,
    host: ImageHost,
    embedder: PixelEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection = await workplace.collection(host.picture_urls(4))
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    damaged = {workplace.base_stores.of(collection, embedder.checksum).name}
    count, delete = Qdrant.count_points, Qdrant.delete_collection

    async def counted(self: Qdrant, name: str) -> int:
        if name in damaged:
            raise VectorsDamaged("Vectors on disk are damaged.")
        return await count(self, name)

    async def existing(self: BaseStore, ids: Sequence[int]) -> set[int]:
        await counted(self.client, self.name)
        return await found(self, ids)

    async def deleted(self: Qdrant, name: str) -> None:
        await delete(self, name)
        damaged.discard(name)

    found = BaseStore.existing
    monkeypatch.setattr(Qdrant, "count_points", counted)
    monkeypatch.setattr(BaseStore, "existing", existing)
    monkeypatch.setattr(Qdrant, "delete_collection", deleted)
    embedded = embedder.embedded.total()
    job = await workplace.finetune(collection, force=True)
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    assert embedder.embedded.total() == embedded + 4
    assert await indexed(workplace, job) == [(4,)]
