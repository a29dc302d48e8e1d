"""A job survives what happens to its worker and to the parts it needs, and does nothing twice that it need not."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from catalog.jobs import Job, JobState
from tests.eventually import eventually
from tests.integration.databases import kill_postgres
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.faults import status
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder, pixel_embedder
from tests.integration.trainer.parts.trainer_process import stop, trainer_process
from tests.integration.workplace import Workplace
from tests.ports import free_port
from tests.processes import offspring

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = 120
# At most 5 % may be embedded twice.
TWICE = IMAGES * 5 // 100
# Of who is to be killed: soon over, and not lost on a busy machine, for what a lost job had begun is done twice.
LEASE_SECONDS = 4.0


async def indexed(workplace: Workplace, job: Job) -> list[tuple[object, ...]]:
    """How many images the live index of the job's collection has."""
    return await workplace.rows(
        "SELECT i.image_count FROM collections c JOIN indexes i ON i.id = c.live_index WHERE c.id = $1",
        job.collection_id,
    )


def repeated(counts: dict[str, int]) -> int:
    """How many things more than once."""
    return sum(counts.values()) - len(counts)


@pytest.mark.parametrize("share", [0.2, 0.8])
async def test_a_killed_trainer_loses_next_to_nothing(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder, share: float
) -> None:
    host.answers |= {"bad": status(404)}
    embedder.delay = 0.005
    job = await workplace.finetune(await workplace.collection([host.url("bad"), *host.picture_urls(IMAGES)]))
    settings = trainers.settings(lease_seconds=LEASE_SECONDS)
    async with trainer_process(settings) as process:
        await eventually(lambda: embedder.embedded.total() >= IMAGES * share)
        process.kill()
        await process.wait()
    async with trainer_process(settings) as process:
        assert (await trainers.ended(job)).state is JobState.DONE
        assert await stop(process) == 0
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert len(embedder.embedded) == IMAGES
    assert repeated(embedder.embedded) <= TWICE
    assert host.requests["bad"] == 1
    assert await workplace.rows("SELECT reason FROM image_failures") == [("not_found",)]


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_trainer_that_is_killed_again_and_again_comes_to_an_end(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    settings = trainers.settings(lease_seconds=LEASE_SECONDS)
    embedder.delay = 0.01
    seed = random.Random(7)
    for _ in range(2):
        async with trainer_process(settings) as process:
            seen = embedder.embedded.total()
            await eventually(lambda seen=seen: embedder.embedded.total() > seen)  # type: ignore[misc]
            await asyncio.sleep(seed.uniform(0.0, 0.4))
            process.kill()
    async with trainers.running(lease_seconds=LEASE_SECONDS):
        assert (await trainers.ended(job)).state is JobState.DONE
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert repeated(embedder.embedded) <= 2 * TWICE


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_trainer_that_is_told_to_stop_gives_its_job_back_at_once(
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
async def test_a_stream_that_breaks_is_mended(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    embedder.break_after = IMAGES // 2
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    assert embedder.streams == 2
    assert repeated(embedder.embedded) <= TWICE
    assert set(host.pictures_served.values()) == {1}


async def test_a_finetune_uses_all_replicas_of_the_embedder_and_one_that_goes_costs_nothing_answered(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    # Enough images under way for several streams.
    images = 1000
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
    assert (await workplace.client.count(store.name)).count == images
    assert repeated(first.embedded + embedder.embedded) <= 64
    assert set(host.pictures_served.values()) == {1}


@pytest.mark.usefixtures("nothing_to_learn")
async def test_an_embedder_that_is_away_for_a_while_is_waited_for(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    async with pixel_embedder(f"127.0.0.1:{free_port()}") as first:
        first.delay = 0.005
        context = trainers.running(embedder_address=first.target)
        await context.__aenter__()
        await eventually(lambda: first.embedded.total() > IMAGES // 2)
    try:
        await asyncio.sleep(0.5)
        assert (await workplace.jobs.get(job.id)).state is JobState.RUNNING
        async with pixel_embedder(first.target, first):
            assert (await trainers.ended(job)).state is JobState.DONE
    finally:
        await context.__aexit__(None, None, None)
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert repeated(first.embedded) <= TWICE
    assert set(host.pictures_served.values()) == {1}


async def test_an_embedder_that_stays_away_fails_the_job_with_a_reason(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(3))
    job = await trainers.finetuned(collection, embedder_address="127.0.0.1:1", patience_seconds=0.5)
    assert (job.state, job.error_code) == (JobState.FAILED, "embedder_unavailable")


async def killed_once(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder, kill: Callable[[], None]
) -> None:
    """A job during which something else is killed ends well, with nothing done twice."""
    job = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
    embedder.delay = 0.005
    async with trainers.running():
        await eventually(lambda: embedder.embedded.total() > IMAGES // 2)
        kill()
        await asyncio.sleep(0.2)
        await trainers.database_is_back()
        assert (await trainers.ended(job)).state is JobState.DONE
    assert await indexed(workplace, job) == [(IMAGES,)]
    assert repeated(embedder.embedded) <= TWICE


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_killed_postgres_is_waited_for(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    await killed_once(trainers, workplace, host, embedder, lambda: kill_postgres(workplace.database_url))


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_killed_writer_of_qdrant_is_waited_for(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    def kill() -> None:
        for child in offspring("local_qdrant.engine.loop"):
            child.kill()

    await killed_once(trainers, workplace, host, embedder, kill)
