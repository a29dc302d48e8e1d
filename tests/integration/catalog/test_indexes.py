"""Indexes: when they can be dropped, and failures that outlive the attempt that found them."""

import pytest

from catalog.indexes import ImageFailure, Index
from catalog.jobs import Job, LeaseLost
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

URLS = ["https://example.org/1.jpg", "https://example.org/2.jpg"]


async def claimed(place: Workplace, collection: int) -> Job:
    await place.jobs.enqueue(collection, backbone=None, force=True)
    job = await place.jobs.claim("worker")
    assert job is not None
    return job


async def names(place: Workplace, grace: float) -> list[str]:
    return [index.qdrant_collection for index in await place.indexes.droppable(grace)]


async def begun(place: Workplace, collection: int, backbone: str = "b") -> tuple[Job, Index]:
    job = await claimed(place, collection)
    return job, await place.indexes.begin(job, backbone)


async def test_a_replaced_index_can_be_dropped_after_the_grace_period(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    first_job, first = await begun(workplace, collection)
    assert await names(workplace, 0) == []
    await workplace.jobs.publish(first_job, first.id, 2)
    assert await names(workplace, 0) == []
    second_job, second = await begun(workplace, collection)
    await workplace.jobs.publish(second_job, second.id, 2)
    assert await names(workplace, 60) == []
    assert await names(workplace, 0) == [first.qdrant_collection]
    await workplace.indexes.remove(first.id)
    # A live index is never removed.
    await workplace.indexes.remove(second.id)
    assert [index.id for index in await workplace.indexes.of_collection(collection)] == [second.id]


async def test_the_index_of_a_failed_job_can_be_dropped(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    job, index = await begun(workplace, collection)
    await workplace.jobs.fail(job, "no_space", "The disk is full.")
    assert await names(workplace, 60) == [index.qdrant_collection]


async def test_only_the_failures_of_a_failed_job_stay_until_the_next_index(
    workplace: Workplace,
) -> None:
    collection = await workplace.collection(URLS)
    job, index = await begun(workplace, collection)
    first = (await workplace.images.page(collection, 1, after=0, limit=1))[0].id
    await workplace.indexes.add_failures(index, [ImageFailure(first, "not_found", "status 404")])
    assert await workplace.indexes.qdrant_collections() == {index.qdrant_collection}
    await workplace.jobs.fail(job, "no_images_indexed", "None.")
    assert await names(workplace, 0) == []
    assert await workplace.indexes.qdrant_collections() == set()
    newest, number = await workplace.indexes.newest_failures(collection)
    assert (newest, number) == (index.id, 1)
    job, second = await begun(workplace, collection)
    assert await names(workplace, 0) == [index.qdrant_collection]
    await workplace.jobs.publish(job, second.id, 2)
    assert await workplace.indexes.qdrant_collections() == {second.qdrant_collection}


async def test_failures_survive_until_the_next_attempt_begins(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    job, index = await begun(workplace, collection)
    failures = [ImageFailure(1, "not_found", "status 404"), ImageFailure(2, "timeout", "")]
    await workplace.indexes.add_failures(index, failures)
    await workplace.rows("UPDATE jobs SET lease_until = now() - interval '1 second'")
    heir = await workplace.jobs.claim("heir")
    assert heir is not None
    # The job has a new token but no new index yet.
    assert await names(workplace, 0) == []
    second = await workplace.indexes.begin(heir, "b")
    assert await workplace.indexes.failures(second.id) == failures
    assert await workplace.indexes.failures(second.id, [2, 3]) == failures[1:]
    assert await workplace.indexes.failure_counts(second.id) == {"not_found": 1, "timeout": 1}
    assert await names(workplace, 0) == [index.qdrant_collection]
    assert job.token < heir.token


async def test_permanent_failures_are_inherited_from_the_live_index_and_newer_ones(workplace: Workplace) -> None:
    collection = await workplace.collection([*URLS, "https://example.org/3.jpg"])
    first, second, third = [image.id for image in await workplace.images.page(collection, 1, after=0, limit=3)]
    permanent = {"not_found", "too_large"}

    async def ended(failures: list[ImageFailure], *, published: bool, backbone: str = "b") -> None:
        job, index = await begun(workplace, collection, backbone)
        await workplace.indexes.add_failures(index, failures)
        if published:
            await workplace.jobs.publish(job, index.id, 0)
        else:
            await workplace.jobs.mark_cancelled(job)

    # Older than the live index: the image has been indexed since.
    await ended([ImageFailure(third, "not_found", "")], published=False)
    await ended([ImageFailure(first, "not_found", ""), ImageFailure(second, "timeout", "")], published=True)
    await ended([ImageFailure(second, "too_large", "")], published=False)
    # From another backbone.
    await ended([ImageFailure(third, "too_large", "")], published=False, backbone="other")
    job = await claimed(workplace, collection)
    index = await workplace.indexes.begin(job, "b", permanent)
    inherited = [ImageFailure(first, "not_found", ""), ImageFailure(second, "too_large", "")]
    assert await workplace.indexes.failures(index.id) == inherited
    await workplace.indexes.forget_failures(index.id, [first])
    assert await workplace.indexes.failures(index.id) == inherited[1:]
    await workplace.jobs.mark_cancelled(job)
    await workplace.fill(collection, URLS[:1])
    job = await claimed(workplace, collection)
    index = await workplace.indexes.begin(job, "b", permanent)
    assert await workplace.indexes.failures(index.id) == inherited[:1]


async def test_the_newest_failure_reason_counts_and_a_removed_index_accepts_none(workplace: Workplace) -> None:
    _, index = await begun(workplace, await workplace.collection(URLS))
    await workplace.indexes.add_failures(index, [ImageFailure(1, "timeout", "")])
    await workplace.indexes.add_failures(index, [ImageFailure(1, "not_found", "")])
    assert await workplace.indexes.failure_counts(index.id) == {"not_found": 1}
    await workplace.indexes.remove(index.id)
    with pytest.raises(LeaseLost):
        await workplace.indexes.add_failures(index, [ImageFailure(1, "timeout", "")])


async def test_an_unused_adapter_is_removed_once_no_job_can_need_it(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)
    job, index = await begun(workplace, collection)
    used = await workplace.adapters.add(collection, "b", b"weights", '{"adapter": "pca"}')
    await workplace.indexes.set_adapter(index, used, 256, None, [0.0, 0.5, 1.0])
    unused = await workplace.adapters.add(collection, "b", b"other", None)
    await workplace.adapters.remove_unused()
    assert await workplace.adapters.get(unused) is not None, "the running job may still use it"
    await workplace.jobs.publish(job, index.id, 2)
    await workplace.adapters.remove_unused()
    assert await workplace.adapters.get(unused) is None
    stored = await workplace.adapters.get(used)
    assert stored is not None
    assert stored.weights == b"weights"
    _, live = await workplace.indexes.live(collection)
    assert live is not None
    assert (live.adapter_id, live.dim) == (used, 256)


async def test_base_stores_are_needed_while_a_job_can_read_them(workplace: Workplace) -> None:
    collection = await workplace.collection(URLS)

    async def needed(backbone: str) -> bool:
        return (await workplace.indexes.base_stores_needed()).covers(collection, backbone[:16])

    old, new = "0" * 64, "1" * 64
    assert await needed(old), "there is no index yet, so the next job reuses what a failed one has embedded"
    assert not (await workplace.indexes.base_stores_needed()).covers(collection + 1, old[:16])
    job, index = await begun(workplace, collection, old)
    await workplace.jobs.publish(job, index.id, 2)
    assert (await needed(old), await needed(new)) == (True, False)
    job, index = await begun(workplace, collection, new)
    assert (await needed(old), await needed(new)) == (True, True)
    await workplace.jobs.publish(job, index.id, 2)
    for dropped in await workplace.indexes.droppable(0):
        await workplace.indexes.remove(dropped.id)
    assert (await needed(old), await needed(new)) == (False, True)
