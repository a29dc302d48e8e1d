"""The job queue: one active job per collection, one worker per job, and no writes under an old token."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from catalog import collections
from catalog.indexes import Index
from catalog.jobs import Job, JobState, LeaseLost
from servicekit.errors import InvalidRequest
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Only client connections, because autovacuum can wait for locks too.
BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND wait_event_type = 'Lock'
"""
URLS = ["https://example.org/1.jpg", "https://example.org/2.jpg"]


async def claimed(place: Workplace) -> Job:
    job = await place.jobs.claim("worker")
    assert job is not None
    return job


async def published(place: Workplace, collection: int, backbone: str = "b") -> Index:
    """Run a finetune and publish its index."""
    await place.jobs.enqueue(collection, backbone=None, force=True)
    job = await claimed(place)
    index = await place.indexes.begin(job, backbone)
    await place.jobs.publish(job, index.id, 2)
    return index


async def waiting_for_locks(place: Workplace, number: int) -> None:
    """Wait until exactly `number` statements wait for a lock."""
    async with asyncio.timeout(60):
        while await place.rows(BLOCKED) != [(number,)]:  # noqa: ASYNC110 - the database sends no event
            await asyncio.sleep(0.01)


async def expire_lease(place: Workplace) -> None:
    await place.rows("UPDATE jobs SET lease_until = now() - interval '1 second' WHERE state = 'running'")


async def test_concurrent_requests_share_one_job(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    answers = await asyncio.gather(*(workplace.jobs.enqueue(collection, backbone=None, force=True) for _ in range(8)))
    assert len({job.id for job, _ in answers if job}) == 1
    assert sorted(new for _, new in answers) == [False] * 7 + [True]
    running = await claimed(workplace)
    again, new = await workplace.jobs.enqueue(collection, backbone=None, force=True)
    assert again is not None
    assert (again.id, again.state, new) == (running.id, JobState.RUNNING, False)


async def test_an_empty_or_unknown_collection_cannot_be_finetuned(workplace: Workplace) -> None:
    empty = await workplace.collections.create("empty")
    for collection, code in ((empty, "collection_empty"), (empty + 1, "collection_not_found")):
        with pytest.raises(InvalidRequest) as caught:
            await workplace.jobs.enqueue(collection, backbone=None, force=False)
        assert caught.value.code == code


async def test_no_job_is_queued_without_new_content_unless_forced(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    await published(workplace, collection, backbone="b")
    assert await workplace.jobs.enqueue(collection, backbone="b", force=False) == (None, False)
    assert await workplace.jobs.enqueue(collection, backbone=None, force=False) == (None, False)
    for backbone, force in (("b", True), ("other", False)):
        job, new = await workplace.jobs.enqueue(collection, backbone=backbone, force=force)
        assert job is not None
        assert new
        await workplace.jobs.cancel_active(collection)
    await workplace.fill(collection, URLS[:1])
    _, new = await workplace.jobs.enqueue(collection, backbone="b", force=False)
    assert new


async def test_each_job_is_claimed_by_one_worker_and_the_oldest_first(workplace: Workplace) -> None:
    jobs = [await workplace.finetune(await workplace.collection(URLS)) for _ in range(6)]
    first = await claimed(workplace)
    rest = await asyncio.gather(*(workplace.jobs.claim(f"worker-{number}") for number in range(10)))
    assert first.id == jobs[0].id
    assert (first.state, first.token, first.attempts) == (JobState.RUNNING, 1, 1)
    assert sorted(job.id for job in rest if job) == [job.id for job in jobs[1:]]


async def test_a_job_can_be_claimed_again_only_after_its_lease_expired(
    workplace: Workplace,
) -> None:
    await workplace.finetune(await workplace.collection(URLS))
    first = await claimed(workplace)
    assert await workplace.jobs.claim("other") is None
    await expire_lease(workplace)
    second = await workplace.jobs.claim("other")
    assert second is not None
    assert (second.id, second.token, second.attempts) == (first.id, 2, 2)
    assert not await workplace.jobs.heartbeat(second, "fetching", 10.0)
    with pytest.raises(LeaseLost):
        await workplace.jobs.heartbeat(first, "fetching", 50.0)
    assert (await workplace.jobs.get(first.id)).progress == 10.0


async def test_a_heartbeat_renews_an_expired_lease_that_nobody_claimed(workplace: Workplace) -> None:
    await workplace.finetune(await workplace.collection(URLS))
    job = await claimed(workplace)
    await expire_lease(workplace)
    assert not await workplace.jobs.heartbeat(job, "fetching", 1.0)
    assert await workplace.jobs.claim("other") is None


async def test_progress_never_decreases(workplace: Workplace) -> None:
    await workplace.finetune(await workplace.collection(URLS))
    job = await claimed(workplace)
    for reported, expected in ((30.0, 30.0), (10.0, 30.0), (31.0, 31.0)):
        await workplace.jobs.heartbeat(job, "fetching", reported)
        assert (await workplace.jobs.get(job.id)).progress == expected


Ending = Callable[[Workplace, Job, Index], Awaitable[None]]
ENDINGS: dict[JobState, Ending] = {
    JobState.DONE: lambda place, job, index: place.jobs.publish(job, index.id, 2),
    JobState.FAILED: lambda place, job, _: place.jobs.fail(job, "no_space", "The disk is full."),
    JobState.CANCELLED: lambda place, job, _: place.jobs.mark_cancelled(job),
}


@pytest.mark.parametrize("state", ENDINGS)
async def test_an_ended_job_never_changes_again(workplace: Workplace, state: JobState) -> None:
    collection = await workplace.collection(URLS)
    await workplace.finetune(collection)
    job = await claimed(workplace)
    index = await workplace.indexes.begin(job, "b")
    await ENDINGS[state](workplace, job, index)
    ended = await workplace.jobs.get(job.id)
    assert (ended.state, ended.state.ended) == (state, True)
    for end in ENDINGS.values():
        with pytest.raises(LeaseLost):
            await end(workplace, job, index)
    with pytest.raises(LeaseLost):
        await workplace.jobs.heartbeat(job, "fetching", 1.0)
    await workplace.jobs.release(job)
    assert await workplace.jobs.cancel_active(collection) is None
    assert await workplace.jobs.get(job.id) == ended
    assert await workplace.jobs.claim("worker") is None
    found = await workplace.collections.get(collection)
    assert found.job is not None
    assert (found.job.state, found.job.active) == (state.value, False)
    assert found.job.error_code == ("no_space" if state is JobState.FAILED else None)
    assert (found.last_finetuned is not None) == (state is JobState.DONE)
    _, new = await workplace.jobs.enqueue(collection, backbone=None, force=True)
    assert new


async def test_an_old_token_can_neither_end_nor_publish_a_job(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    before = await published(workplace, collection)
    await workplace.jobs.enqueue(collection, backbone=None, force=True)
    zombie = await claimed(workplace)
    stale = await workplace.indexes.begin(zombie, "b")
    await expire_lease(workplace)
    heir = await claimed(workplace)
    index = await workplace.indexes.begin(heir, "b")
    for end in ENDINGS.values():
        with pytest.raises(LeaseLost):
            await end(workplace, zombie, stale)
    # Nor can the new owner publish an index that the old one wrote.
    with pytest.raises(LeaseLost):
        await workplace.jobs.publish(heir, stale.id, 2)
    await workplace.jobs.release(zombie)
    assert (await workplace.jobs.get(heir.id)).state is JobState.RUNNING
    assert (await workplace.indexes.live(collection))[1] == before
    await workplace.jobs.publish(heir, index.id, 2)
    assert (await workplace.indexes.live(collection))[1] == index


async def test_a_publish_changes_everything_or_nothing(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    before = await published(workplace, collection)
    await workplace.jobs.enqueue(collection, backbone=None, force=True)
    job = await claimed(workplace)
    # The index does not exist, so the job must not end and the live index must stay.
    with pytest.raises(LeaseLost):
        await workplace.jobs.publish(job, 10**9, 2)
    assert (await workplace.jobs.get(job.id)).state is JobState.RUNNING
    assert (await workplace.indexes.live(collection))[1] == before
    assert await workplace.indexes.droppable(0) == []


async def test_a_released_job_is_queued_again_without_counting_an_attempt(workplace: Workplace) -> None:
    await workplace.finetune(await workplace.collection(URLS))
    job = await claimed(workplace)
    await workplace.jobs.release(job)
    waiting = await workplace.jobs.get(job.id)
    assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
    again = await claimed(workplace)
    assert (again.id, again.token) == (job.id, 2)


async def test_a_queued_job_is_cancelled_at_once_and_a_running_one_at_its_heartbeat(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    assert await workplace.jobs.cancel_active(collection) is None
    queued = await workplace.finetune(collection)
    cancelled = await workplace.jobs.cancel_active(collection)
    assert cancelled is not None
    assert (cancelled.id, cancelled.state) == (queued.id, JobState.CANCELLED)
    assert await workplace.jobs.cancel_active(collection) is None
    await workplace.finetune(collection)
    running = await claimed(workplace)
    marked = await workplace.jobs.cancel_active(collection)
    assert marked is not None
    assert (marked.id, marked.state, marked.cancel_requested) == (running.id, JobState.RUNNING, True)
    assert await workplace.jobs.heartbeat(running, "fetching", 1.0)


async def test_a_worker_loses_its_job_when_the_collection_is_deleted(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    await workplace.finetune(collection)
    job = await claimed(workplace)
    index = await workplace.indexes.begin(job, "b")
    await workplace.collections.mark_deleting(collection)
    with pytest.raises(LeaseLost):
        await workplace.jobs.heartbeat(job, "fetching", 1.0)
    with pytest.raises(LeaseLost):
        await workplace.jobs.publish(job, index.id, 2)
    with pytest.raises(InvalidRequest):
        await workplace.collections.mark_deleting(collection)
    await workplace.collections.remove(collection)
    for act in (
        workplace.adapters.add(collection, "b", b"weights", None),
        workplace.indexes.begin(job, "b"),
    ):
        with pytest.raises(LeaseLost):
            await act
    assert await workplace.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_a_deletion_also_cancels_a_job_that_was_queued_while_it_waited(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    async with workplace.database.transaction() as connection:
        revision = await collections.lock(connection, collection)
        deletion = asyncio.create_task(workplace.collections.mark_deleting(collection))
        await waiting_for_locks(workplace, 1)
        await connection.execute("INSERT INTO jobs (collection_id, revision) VALUES ($1, $2)", collection, revision)
    await deletion
    assert await workplace.jobs.claim("w") is None


async def test_a_concurrent_deletion_and_publish_do_not_deadlock(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    await workplace.finetune(collection)
    job = await claimed(workplace)
    index = await workplace.indexes.begin(job, "b")
    async with workplace.database.transaction() as connection:
        await collections.lock(connection, collection)
        deletion = asyncio.create_task(workplace.collections.mark_deleting(collection))
        await waiting_for_locks(workplace, 1)
        publishing = asyncio.create_task(workplace.jobs.publish(job, index.id, 2))
        await waiting_for_locks(workplace, 2)
    await deletion
    with pytest.raises(LeaseLost):
        await publishing
    assert (await workplace.jobs.get(job.id)).state is JobState.CANCELLED


async def test_a_finetune_does_not_wait_for_an_upload(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    await workplace.finetune(collection)
    job = await claimed(workplace)
    async with workplace.database.transaction() as connection, asyncio.timeout(30):
        # An upload holds this lock until it is done.
        await collections.lock(connection, collection)
        await workplace.indexes.begin(job, "b")
        await workplace.adapters.add(collection, "b", b"weights", None)
        assert not await workplace.jobs.heartbeat(job, "fetching", 1.0)


async def test_timestamps_exclude_the_wait_for_a_lock(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    await published(workplace, collection)
    await workplace.finetune(collection, force=True)
    job = await claimed(workplace)
    index = await workplace.indexes.begin(job, "b")
    async with workplace.database.transaction() as connection:
        await collections.lock(connection, collection)
        publishing = asyncio.create_task(workplace.jobs.publish(job, index.id, 2))
        uploading = asyncio.create_task(workplace.fill(collection, URLS[:1]))
        await waiting_for_locks(workplace, 2)
        unlocked = await connection.fetchval("SELECT clock_timestamp()")
    await asyncio.gather(publishing, uploading)
    found = await workplace.collections.get(collection)
    assert found.last_finetuned is not None
    assert min(found.last_finetuned, found.last_modified) > unlocked
    replaced = await workplace.rows("SELECT superseded_at > $1 FROM indexes WHERE superseded_at IS NOT NULL", unlocked)
    assert replaced == [(True,)]


async def test_a_cancelled_upload_unlocks_the_collection(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    async with workplace.database.transaction() as connection:
        # The upload writes to this table, so it blocks in the middle of its transaction.
        await connection.execute("LOCK TABLE images IN SHARE MODE")
        upload = asyncio.create_task(workplace.fill(collection, URLS[:1]))
        await waiting_for_locks(workplace, 1)
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
        async with asyncio.timeout(30), workplace.database.transaction() as other:
            assert await collections.lock(other, collection) == 1


async def test_a_content_that_is_uploaded_again_has_nothing_new_to_learn(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    await published(workplace, collection)
    await workplace.fill(collection, URLS[:1])
    assert (await workplace.collections.get(collection)).requires_finetuning("b")
    assert (await workplace.fill(collection, URLS)).revision == 3
    found = await workplace.collections.get(collection)
    assert not found.requires_finetuning("b")
    assert found.requires_finetuning("other")
    assert await workplace.jobs.enqueue(collection, backbone="b", force=False) == (None, False)
    _, new = await workplace.jobs.enqueue(collection, backbone="other", force=False)
    assert new


async def test_only_attempts_without_progress_are_counted(workplace: Workplace) -> None:
    await workplace.finetune(await workplace.collection(URLS))
    attempts = []
    for progress in (10.0, 10.0, 10.5, 40.0, 40.0):
        await expire_lease(workplace)
        job = await claimed(workplace)
        await workplace.jobs.heartbeat(job, "fetching", progress)
        attempts.append((await workplace.jobs.get(job.id)).attempts)
    assert attempts == [1, 2, 3, 1, 2]
