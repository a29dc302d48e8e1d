"""Jobs among workers: one index each, whoever runs them, and nothing from whom they were taken."""

import asyncio

import grpc
import pytest
from similis.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from catalog.jobs import JobState, LeaseLost
from servicekit.errors import InvalidRequest
from tests.eventually import eventually
from tests.integration.trainer.conftest import Trainers, until
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace
from trainer.app import RunningTrainer
from trainer.jobs.finetune import Finetune

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Between the heartbeats of such a lease is a third of it, so what is noticed sooner was told.
HOLDING_SECONDS, AT_ONCE = 90.0, 25.0


def stub(running: RunningTrainer) -> tuple[grpc.aio.Channel, "trainer_pb2_grpc.TrainerServiceAsyncStub"]:
    """A client of a trainer, and the channel to close."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{running.port}")
    return channel, trainer_pb2_grpc.TrainerServiceStub(channel)


async def leftovers_gone(workplace: Workplace) -> None:
    """Returns when the database has no collection, and Qdrant none of this workplace's."""

    async def gone() -> bool:
        return not await workplace.vectors.list() and not await workplace.rows("SELECT id FROM collections")

    await until(gone)


async def test_two_trainers_share_the_queue_and_do_each_job_once(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    jobs = [
        await workplace.finetune(await workplace.collection(host.picture_urls(10, first=100 * number)))
        for number in range(6)
    ]
    async with trainers.running(), trainers.running(concurrent_jobs=2):
        ended = [await trainers.ended(job) for job in jobs]
    assert [(job.state, job.attempts, job.token) for job in ended] == [(JobState.DONE, 1, 1)] * 6
    assert set(embedder.embedded.values()) == {1}
    assert await workplace.rows("SELECT count(*) FROM indexes WHERE published_at IS NOT NULL") == [(6,)]


async def test_a_finetune_that_is_cancelled_from_within_is_not_taken_for_done(
    trainers: Trainers, workplace: Workplace, host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    job = await workplace.finetune(await workplace.collection(host.picture_urls(2)))
    async with trainers.running():
        with monkeypatch.context() as patch:
            patch.setattr(Finetune, "run", cancelled)
            ended = await trainers.ended(job)
        assert (ended.state, ended.error_code) == (JobState.FAILED, "internal")
        # Nor for a sign to stop: the next job is done.
        assert (await trainers.ended(await workplace.finetune(job.collection_id))).state is JobState.DONE


async def test_a_job_that_is_taken_away_stops_and_publishes_nothing(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(10)))
    host.open.clear()
    async with trainers.running(lease_seconds=1.0):
        await eventually(lambda: host.under_way > 0)
        # As another worker does when it finds the lease run out.
        taken = await workplace.rows(
            "UPDATE jobs SET token = token + 1, lease_until = now() + interval '1 hour' WHERE id = $1 RETURNING token",
            job.id,
        )
        await eventually(lambda: host.under_way == 0)
    found = await workplace.jobs.get(job.id)
    assert (found.state, found.token) == (JobState.RUNNING, taken[0][0])
    assert (await workplace.indexes.live(job.collection_id))[1] is None


async def test_a_zombie_cannot_publish(trainers: Trainers, workplace: Workplace, host: ImageHost) -> None:
    collection = await workplace.collection(host.picture_urls(3))
    await workplace.finetune(collection)
    zombie = await workplace.jobs.claim("zombie")
    assert zombie is not None
    stale = await workplace.indexes.begin(zombie, "pixels")
    await workplace.rows("UPDATE jobs SET lease_until = now() - interval '1 second'")
    async with trainers.running():
        assert (await trainers.ended(zombie)).state is JobState.DONE
    _, live = await workplace.indexes.live(collection)
    for act in (
        workplace.jobs.publish(zombie, stale.id, 3),
        workplace.jobs.fail(zombie, "x", "y"),
        workplace.jobs.mark_cancelled(zombie),
        workplace.indexes.begin(zombie, "pixels"),
    ):
        with pytest.raises(LeaseLost):
            await act
    assert (await workplace.indexes.live(collection))[1] == live


async def test_a_queued_job_is_cancelled_at_once(trainers: Trainers, workplace: Workplace, host: ImageHost) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(3)))
    assert (await workplace.jobs.request_cancel(job.id)).state is JobState.CANCELLED
    async with trainers.running():
        other = await workplace.finetune(await workplace.collection(host.picture_urls(1, first=50)))
        await trainers.ended(other)
    assert set(host.pictures_served) == {host.picture_urls(1, first=50)[0].split("/", 3)[3]}


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_running_job_is_cancelled_through_any_replica_and_keeps_what_it_has(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(40))
    embedder.delay = 0.05
    async with trainers.running(lease_seconds=HOLDING_SECONDS) as running:
        job = await workplace.finetune(collection)
        await eventually(lambda: embedder.embedded.total() > 10)
        channel, client = stub(running)
        async with channel:
            answer = await client.CancelJob(trainer_pb2.CancelJobRequest(job_id=job.id))
            assert answer.job.job_id == job.id
            async with asyncio.timeout(AT_ONCE):
                states = [r.job.state async for r in client.WatchJob(trainer_pb2.WatchJobRequest(job_id=job.id))]
        assert states[-1] == trainer_pb2.JOB_STATE_CANCELLED
        embedder.delay = 0.0
        again = await workplace.finetune(collection)
        assert (await trainers.ended(again)).state is JobState.DONE
    assert embedder.embedded.total() <= 40 + 4


async def test_a_job_that_stands_still_ends_at_once_when_another_replica_is_told(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    host.open.clear()
    async with trainers.running(lease_seconds=HOLDING_SECONDS):
        job = await workplace.finetune(await workplace.collection(host.picture_urls(3)))
        await eventually(lambda: host.under_way > 0)
        async with trainers.running() as other:
            channel, client = stub(other)
            async with channel:
                await client.CancelJob(trainer_pb2.CancelJobRequest(job_id=job.id))
        assert (await trainers.ended(job, seconds=AT_ONCE)).state is JobState.CANCELLED
        await eventually(lambda: host.under_way == 0)
        deleted = await workplace.collection(host.picture_urls(3, first=10))
        await workplace.finetune(deleted)
        await eventually(lambda: host.under_way > 0)
        await workplace.collections.mark_deleting(deleted)
        await eventually(lambda: host.under_way == 0, seconds=AT_ONCE)


async def test_content_that_changes_meanwhile_is_not_in_the_index(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(5))
    host.open.clear()
    async with trainers.running():
        job = await workplace.finetune(collection)
        await eventually(lambda: host.under_way > 0)
        await workplace.fill(collection, host.picture_urls(5, first=3))
        same, new = await workplace.jobs.enqueue(collection, backbone=None, force=True)
        assert same is not None
        assert (same.id, new) == (job.id, False)
        host.open.set()
        assert (await trainers.ended(job)).state is JobState.DONE
        found = await workplace.collections.get(collection)
        assert found.requires_finetuning(None)
        _, live = await workplace.indexes.live(collection)
        assert live is not None
        assert (live.revision, found.content_revision) == (1, 2)
        assert sorted(host.pictures_served) == sorted(url.split("/", 3)[3] for url in host.picture_urls(5))
        second = await workplace.finetune(collection)
        assert (await trainers.ended(second)).state is JobState.DONE
        assert not (await workplace.collections.get(collection)).requires_finetuning(None)
    assert set(host.pictures_served.values()) == {1}
    assert len(host.pictures_served) == 8


async def test_a_collection_deleted_while_it_is_finetuned_leaves_nothing(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(60))
    embedder.delay = 0.02
    async with trainers.running(lease_seconds=1.0):
        job = await workplace.finetune(collection)
        await eventually(lambda: embedder.embedded.total() > 20)
        await workplace.collections.mark_deleting(collection)
        with pytest.raises(InvalidRequest):
            await workplace.collections.get(collection)
        await leftovers_gone(workplace)
        await eventually(lambda: host.under_way == 0)
    tables = ("jobs", "images", "image_versions", "contents", "content_chunks", "indexes", "adapters", "image_failures")
    for table in tables:
        assert await workplace.rows(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608
    assert job.id > 0


async def test_a_deletion_that_was_cut_short_is_finished_by_whoever_comes(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(5))
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    await workplace.collections.mark_deleting(collection)
    # The process that began died after the first of the vectors was gone.
    await workplace.base_stores.named((await workplace.vectors.list())[0].name).drop()
    async with trainers.running(), trainers.running():
        await leftovers_gone(workplace)


async def test_a_backbone_that_changes_under_a_job_is_followed(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(30)))
    old, embedder.delay = embedder.checksum, 0.02
    async with trainers.running():
        await eventually(lambda: embedder.embedded.total() > 10)
        embedder.checksum = "pixels-2-" + "0" * 55
        assert (await trainers.ended(job)).state is JobState.DONE
        _, live = await workplace.indexes.live(job.collection_id)
        assert live is not None
        assert (live.backbone, live.dim) == (embedder.checksum, DIMENSION)

        # The old backbone's vectors are of no use to anybody now.
        async def gone() -> bool:
            return old[:16] not in {found.backbone for found in await workplace.vectors.list()}

        await until(gone)


async def test_a_job_that_kills_its_workers_is_given_up(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(2))
    await workplace.finetune(collection)
    await workplace.rows("UPDATE jobs SET attempts = 10")
    async with trainers.running():
        job = await workplace.jobs.get(1)
        job = await trainers.ended(job)
    assert (job.state, job.error_code) == (JobState.FAILED, "too_many_attempts")


async def test_progress_rises_from_nothing_to_a_hundred_through_all_phases(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    embedder.delay = 0.02
    async with trainers.running(poll_seconds=60.0) as running:
        channel, client = stub(running)
        async with channel:
            job = await workplace.finetune(await workplace.collection(host.picture_urls(60)))
            watching = aiter(client.WatchJob(trainer_pb2.WatchJobRequest(job_id=job.id)))
            seen = [(await anext(watching)).job]
            # Without it the trainer would look for work in a minute.
            await client.Nudge(trainer_pb2.NudgeRequest())
            # It learns too, which takes long on a machine with much else to do.
            async with asyncio.timeout(90):
                seen += [response.job async for response in watching]
    assert seen[0].state == trainer_pb2.JOB_STATE_QUEUED
    percents = [shown.progress for shown in seen]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1], seen[-1].state) == (0.0, 100.0, trainer_pb2.JOB_STATE_DONE)
    assert len(set(percents)) >= 4


async def test_a_job_that_is_not_there_is_not_found(trainers: Trainers) -> None:
    async with trainers.running() as running:
        channel, client = stub(running)
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.CancelJob(trainer_pb2.CancelJobRequest(job_id=999))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [r async for r in client.WatchJob(trainer_pb2.WatchJobRequest(job_id=999))]
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_ends_when_the_trainer_stops(trainers: Trainers, workplace: Workplace, host: ImageHost) -> None:
    host.open.clear()
    job = await workplace.finetune(await workplace.collection(host.picture_urls(2)))
    async with asyncio.timeout(40):
        context = trainers.running(shutdown_grace_seconds=60.0)
        channel, client = stub(await context.__aenter__())
        watching = aiter(client.WatchJob(trainer_pb2.WatchJobRequest(job_id=job.id)))
        await anext(watching)
        await context.__aexit__(None, None, None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [response async for response in watching]
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await channel.close()
