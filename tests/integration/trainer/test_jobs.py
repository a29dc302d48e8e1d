"""Jobs and workers: each job is done once, and a worker that lost a job publishes nothing."""

import asyncio

import grpc
import pytest
from similis.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from catalog.jobs import Job, JobState, LeaseLost
from servicekit.errors import InvalidRequest
from tests.eventually import eventually
from tests.integration.trainer.conftest import Trainers, until
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.trainer.parts.pixel_embedder import DIMENSION, PixelEmbedder
from tests.integration.workplace import Workplace
from trainer.app import RunningTrainer
from trainer.jobs.finetune import Finetune

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Heartbeats of such a lease are 30 s apart, so what is noticed sooner came with a notification.
HOLDING_SECONDS, AT_ONCE = 90.0, 25.0
JOBS = 4


async def nudge(running: RunningTrainer) -> None:
    """Send a nudge over gRPC, as gateways do."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        await trainer_pb2_grpc.TrainerServiceStub(channel).Nudge(trainer_pb2.NudgeRequest())


async def leftovers_gone(workplace: Workplace) -> None:
    """Wait until the database has no collections and Qdrant none of this workplace."""

    async def gone() -> bool:
        return not await workplace.vectors.list() and not await workplace.rows("SELECT id FROM collections")

    await until(gone)


@pytest.mark.usefixtures("nothing_to_learn")
async def test_two_trainers_share_the_queue_and_do_each_job_once(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    jobs = [
        await workplace.finetune(await workplace.collection(host.picture_urls(10, first=100 * number)))
        for number in range(JOBS)
    ]
    async with trainers.running(), trainers.running(concurrent_jobs=2):
        ended = [await trainers.ended(job) for job in jobs]
    assert [(job.state, job.attempts, job.token) for job in ended] == [(JobState.DONE, 1, 1)] * JOBS
    assert set(embedder.embedded.values()) == {1}
    assert await workplace.rows("SELECT count(*) FROM indexes WHERE published_at IS NOT NULL") == [(JOBS,)]


async def test_a_finetune_that_cancels_itself_fails_and_the_worker_continues(
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
        assert (await trainers.ended(await workplace.finetune(job.collection_id))).state is JobState.DONE


async def test_a_worker_that_loses_its_job_stops_and_publishes_nothing(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(10)))
    host.open.clear()
    async with trainers.running(lease_seconds=1.0):
        await eventually(lambda: host.under_way > 0)
        # What another worker does after the lease has expired.
        taken = await workplace.rows(
            "UPDATE jobs SET token = token + 1, lease_until = now() + interval '1 hour' WHERE id = $1 RETURNING token",
            job.id,
        )
        await eventually(lambda: host.under_way == 0)
    found = await workplace.jobs.get(job.id)
    assert (found.state, found.token) == (JobState.RUNNING, taken[0][0])
    assert (await workplace.indexes.live(job.collection_id))[1] is None


async def test_a_worker_without_the_lease_cannot_publish(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
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


async def test_a_cancelled_job_leaves_the_queue_without_a_download(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    job = await workplace.finetune(await workplace.collection(host.picture_urls(3)))
    cancelled = await workplace.jobs.cancel_active(job.collection_id)
    assert cancelled is not None
    assert cancelled.state is JobState.CANCELLED
    async with trainers.running():
        other = await workplace.finetune(await workplace.collection(host.picture_urls(1, first=50)))
        await trainers.ended(other)
    assert set(host.pictures_served) == {host.picture_urls(1, first=50)[0].split("/", 3)[3]}


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_cancelled_job_ends_at_once_and_the_next_one_continues_from_it(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(40))
    embedder.delay = 0.05
    async with trainers.running(lease_seconds=HOLDING_SECONDS):
        job = await workplace.finetune(collection)
        await eventually(lambda: embedder.embedded.total() > 10)
        await workplace.jobs.cancel_active(collection)
        assert (await trainers.ended(job, seconds=AT_ONCE)).state is JobState.CANCELLED
        embedder.delay = 0.0
        again = await workplace.finetune(collection)
        assert (await trainers.ended(again)).state is JobState.DONE
    assert embedder.embedded.total() <= 40 + 4


async def test_a_stalled_job_ends_at_once_when_it_is_cancelled_or_its_collection_deleted(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    host.open.clear()
    async with trainers.running(lease_seconds=HOLDING_SECONDS):
        job = await workplace.finetune(await workplace.collection(host.picture_urls(3)))
        await eventually(lambda: host.under_way > 0)
        await workplace.jobs.cancel_active(job.collection_id)
        assert (await trainers.ended(job, seconds=AT_ONCE)).state is JobState.CANCELLED
        await eventually(lambda: host.under_way == 0)
        deleted = await workplace.collection(host.picture_urls(3, first=10))
        await workplace.finetune(deleted)
        await eventually(lambda: host.under_way > 0)
        await workplace.collections.mark_deleting(deleted)
        await eventually(lambda: host.under_way == 0, seconds=AT_ONCE)


async def test_a_job_indexes_the_revision_that_it_began_with(
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


async def test_deleting_a_collection_during_its_finetune_leaves_nothing_behind(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    collection = await workplace.collection(host.picture_urls(60))
    embedder.delay = 0.02
    async with trainers.running(lease_seconds=1.0):
        await workplace.finetune(collection)
        await eventually(lambda: embedder.embedded.total() > 20)
        await workplace.collections.mark_deleting(collection)
        with pytest.raises(InvalidRequest):
            await workplace.collections.get(collection)
        await leftovers_gone(workplace)
        await eventually(lambda: host.under_way == 0)
    tables = ("jobs", "images", "image_versions", "contents", "content_chunks", "indexes", "adapters", "image_failures")
    for table in (*tables, "equal_images", "image_miniatures"):
        assert await workplace.rows(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608


async def test_an_interrupted_deletion_is_completed_by_the_next_trainer(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(5))
    assert (await trainers.finetuned(collection)).state is JobState.DONE
    await workplace.collections.mark_deleting(collection)
    # The first process died after it had removed the first vectors.
    await workplace.base_stores.named((await workplace.vectors.list())[0].name).drop()
    async with trainers.running(), trainers.running():
        await leftovers_gone(workplace)


async def test_a_job_restarts_when_the_backbone_changes(
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

        # The vectors of the old backbone are no longer needed.
        async def gone() -> bool:
            return old[:16] not in {found.backbone for found in await workplace.vectors.list()}

        await until(gone)


async def test_a_job_that_keeps_killing_its_workers_fails(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(2))
    await workplace.finetune(collection)
    await workplace.rows("UPDATE jobs SET attempts = 10")
    async with trainers.running():
        job = await workplace.jobs.get(1)
        job = await trainers.ended(job)
    assert (job.state, job.error_code) == (JobState.FAILED, "too_many_attempts")


@pytest.mark.usefixtures("nothing_to_learn")
async def test_progress_rises_from_0_to_100_through_all_phases(
    trainers: Trainers, workplace: Workplace, host: ImageHost, embedder: PixelEmbedder
) -> None:
    embedder.delay = 0.08
    seen: list[Job] = []

    async def ended() -> bool:
        seen.append(await workplace.jobs.get(job.id))
        return seen[-1].state.ended

    job = await workplace.finetune(await workplace.collection(host.picture_urls(40)))
    seen.append(job)
    async with trainers.running():
        await until(ended, 90.0)
    percents = [shown.progress for shown in seen]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1], seen[-1].state) == (0.0, 100.0, JobState.DONE)
    assert len(set(percents)) >= 4


async def test_a_nudge_makes_an_idle_trainer_look_for_jobs(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    collection = await workplace.collection(host.picture_urls(2))
    async with trainers.running(poll_seconds=3600.0) as running:
        # Without the notification that `enqueue` sends.
        await workplace.rows(
            "INSERT INTO jobs (collection_id, revision, force, refresh) VALUES ($1, 1, false, false) RETURNING id",
            collection,
        )
        job = await workplace.jobs.get(1)
        await nudge(running)
        assert (await trainers.ended(job)).state is JobState.DONE
