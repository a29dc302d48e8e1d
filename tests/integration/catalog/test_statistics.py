"""The statistics of the catalog, and their export as metrics."""

import pytest
from prometheus_client import CollectorRegistry

from catalog.jobs import JobState
from catalog.metrics import CatalogMetrics
from catalog.statistics import Statistics
from tests.eventually import eventually
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def set_back(workplace: Workplace, column: str, seconds: int) -> None:
    """Move a timestamp of all jobs into the past."""
    async with workplace.database.connection() as connection:
        await connection.execute(f"UPDATE jobs SET {column} = {column} - make_interval(secs => {seconds})")  # noqa: S608


async def test_an_empty_catalog_has_statistics(workplace: Workplace) -> None:
    snapshot = await Statistics(workplace.database).snapshot()
    assert set(snapshot.jobs.values()) == {0}
    assert (snapshot.oldest_queued, snapshot.lease_expired, snapshot.oldest_progress) == (0, 0, 0)
    assert (snapshot.collections, snapshot.images, snapshot.index_images) == (0, 0, 0)


async def test_each_collection_is_counted_by_its_newest_job(workplace: Workplace) -> None:
    statistics = Statistics(workplace.database)
    first, second = [await workplace.collection([f"https://example.org/{n}.jpg" for n in range(3)]) for _ in range(2)]
    for _ in range(2):
        await workplace.finetune(first)
        job = await workplace.jobs.claim("worker")
        assert job is not None
        await workplace.jobs.fail(job, "example", "It failed.")
    await workplace.finetune(second)
    snapshot = await statistics.snapshot()
    assert {state: count for state, count in snapshot.jobs.items() if count} == {JobState.FAILED: 1, JobState.QUEUED: 1}
    assert (snapshot.collections, snapshot.images, snapshot.index_images) == (2, 6, 0)
    await workplace.collections.mark_deleting(second)
    snapshot = await statistics.snapshot()
    assert (snapshot.collections, snapshot.images, snapshot.jobs[JobState.QUEUED]) == (1, 3, 0)


async def test_only_images_in_live_indexes_are_counted_as_indexed(workplace: Workplace) -> None:
    await workplace.finetune(await workplace.collection(["https://example.org/1.jpg"]))
    job = await workplace.jobs.claim("worker")
    assert job is not None
    index = await workplace.indexes.begin(job, "backbone")
    assert (await Statistics(workplace.database).snapshot()).index_images == 0
    await workplace.jobs.publish(job, index.id, 1)
    assert (await Statistics(workplace.database).snapshot()).index_images == 1


async def test_a_long_queued_job_and_an_expired_lease_are_reported(workplace: Workplace) -> None:
    statistics = Statistics(workplace.database)
    await workplace.finetune(await workplace.collection(["https://example.org/1.jpg"]))
    await set_back(workplace, "created_at", 100)
    assert 100 <= (await statistics.snapshot()).oldest_queued < 130
    assert await workplace.jobs.claim("worker") is not None
    snapshot = await statistics.snapshot()
    assert (snapshot.oldest_queued, snapshot.lease_expired) == (0, 0)
    await set_back(workplace, "lease_until", 100)
    assert (await statistics.snapshot()).lease_expired == 1


async def test_only_a_heartbeat_with_a_new_phase_or_percentage_is_progress(workplace: Workplace) -> None:
    statistics = Statistics(workplace.database)
    await workplace.finetune(await workplace.collection(["https://example.org/1.jpg"]))
    job = await workplace.jobs.claim("worker")
    assert job is not None
    await workplace.jobs.heartbeat(job, "fetching", 10.0)
    await set_back(workplace, "progressed_at", 100)
    await workplace.jobs.heartbeat(job, "fetching", 10.0)
    assert (await statistics.snapshot()).oldest_progress >= 100
    await workplace.jobs.heartbeat(job, "fetching", 10.5)
    assert (await statistics.snapshot()).oldest_progress < 30
    await set_back(workplace, "progressed_at", 100)
    await workplace.jobs.heartbeat(job, "fitting", 10.5)
    assert (await statistics.snapshot()).oldest_progress < 30


async def test_metrics_disappear_while_the_database_cannot_be_read(workplace: Workplace) -> None:
    registry = CollectorRegistry()
    metrics = CatalogMetrics(registry)
    await workplace.collection(["https://example.org/1.jpg"])
    statistics = Statistics(workplace.database)

    def exported(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"similis_{name}", labels)

    assert exported("collections") is None
    async with metrics.refreshing(statistics, seconds=0.01, exported_seconds=2.0):
        await eventually(lambda: exported("collections") == 1)
        assert exported("jobs", state="queued") == 0
        assert exported("catalog_refresh_failures_total") == 0
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs RENAME TO jobs_away")
        await eventually(lambda: (exported("catalog_refresh_failures_total") or 0) >= 2)
        refreshed = exported("catalog_refreshed_timestamp_seconds")
        assert refreshed
        await eventually(lambda: exported("collections") is None)
        assert exported("jobs", state="queued") is None
        assert exported("jobs_lease_expired") is None
        assert exported("catalog_refreshed_timestamp_seconds") == refreshed
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs_away RENAME TO jobs")
        await eventually(lambda: exported("collections") == 1)
        assert exported("catalog_refreshed_timestamp_seconds") != refreshed


async def test_metrics_survive_one_failed_refresh(workplace: Workplace) -> None:
    registry = CollectorRegistry()
    async with CatalogMetrics(registry).refreshing(Statistics(workplace.database), seconds=0.01):
        await eventually(lambda: registry.get_sample_value("similis_collections") == 0)
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs RENAME TO jobs_away")
        await eventually(lambda: (registry.get_sample_value("similis_catalog_refresh_failures_total") or 0) >= 1)
        assert registry.get_sample_value("similis_collections") == 0
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs_away RENAME TO jobs")
