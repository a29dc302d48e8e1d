"""The catalog's figures, and how they are shown."""

import pytest
from prometheus_client import CollectorRegistry

from catalog.jobs import JobState
from catalog.metrics import CatalogMetrics
from catalog.statistics import Statistics
from tests.eventually import eventually
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def set_back(workplace: Workplace, column: str, seconds: int) -> None:
    """Moves a time of all jobs into the past."""
    async with workplace.database.connection() as connection:
        await connection.execute(f"UPDATE jobs SET {column} = {column} - make_interval(secs => {seconds})")  # noqa: S608


async def test_an_empty_catalog_has_figures_too(workplace: Workplace) -> None:
    figures = await Statistics(workplace.database).figures()
    assert set(figures.jobs.values()) == {0}
    assert (figures.oldest_queued, figures.lease_expired, figures.oldest_progress) == (0, 0, 0)
    assert (figures.collections, figures.images, figures.index_images) == (0, 0, 0)


async def test_each_collection_counts_once_with_its_newest_finetune(workplace: Workplace) -> None:
    statistics = Statistics(workplace.database)
    first, second = [await workplace.collection([f"https://example.org/{n}.jpg" for n in range(3)]) for _ in range(2)]
    for _ in range(2):
        await workplace.finetune(first)
        job = await workplace.jobs.claim("worker")
        assert job is not None
        await workplace.jobs.fail(job, "example", "It failed.")
    await workplace.finetune(second)
    figures = await statistics.figures()
    assert {state: count for state, count in figures.jobs.items() if count} == {JobState.FAILED: 1, JobState.QUEUED: 1}
    assert (figures.collections, figures.images, figures.index_images) == (2, 6, 0)
    await workplace.collections.mark_deleting(second)
    figures = await statistics.figures()
    assert (figures.collections, figures.images, figures.jobs[JobState.QUEUED]) == (1, 3, 0)


async def test_the_images_that_search_serves_are_those_of_live_indexes(workplace: Workplace) -> None:
    await workplace.finetune(await workplace.collection(["https://example.org/1.jpg"]))
    job = await workplace.jobs.claim("worker")
    assert job is not None
    index = await workplace.indexes.begin(job, "backbone")
    assert (await Statistics(workplace.database).figures()).index_images == 0
    await workplace.jobs.publish(job, index.id, 1)
    assert (await Statistics(workplace.database).figures()).index_images == 1


async def test_a_job_that_waits_and_one_that_nobody_holds_are_seen(workplace: Workplace) -> None:
    statistics = Statistics(workplace.database)
    await workplace.finetune(await workplace.collection(["https://example.org/1.jpg"]))
    await set_back(workplace, "created_at", 100)
    assert 100 <= (await statistics.figures()).oldest_queued < 130
    assert await workplace.jobs.claim("worker") is not None
    figures = await statistics.figures()
    assert (figures.oldest_queued, figures.lease_expired) == (0, 0)
    await set_back(workplace, "lease_until", 100)
    assert (await statistics.figures()).lease_expired == 1


async def test_only_a_heartbeat_that_shows_something_new_is_progress(workplace: Workplace) -> None:
    statistics = Statistics(workplace.database)
    await workplace.finetune(await workplace.collection(["https://example.org/1.jpg"]))
    job = await workplace.jobs.claim("worker")
    assert job is not None
    await workplace.jobs.heartbeat(job, "fetching", 10.0)
    await set_back(workplace, "progressed_at", 100)
    await workplace.jobs.heartbeat(job, "fetching", 10.0)
    assert (await statistics.figures()).oldest_progress >= 100
    await workplace.jobs.heartbeat(job, "fetching", 10.5)
    assert (await statistics.figures()).oldest_progress < 30
    await set_back(workplace, "progressed_at", 100)
    await workplace.jobs.heartbeat(job, "fitting", 10.5)
    assert (await statistics.figures()).oldest_progress < 30


async def test_figures_of_a_database_that_went_away_are_shown_no_more_until_it_is_back(workplace: Workplace) -> None:
    registry = CollectorRegistry()
    figures = CatalogMetrics(registry)
    await workplace.collection(["https://example.org/1.jpg"])
    statistics = Statistics(workplace.database)

    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"similis_{name}", labels)

    assert shown("collections") is None
    async with figures.refreshing(statistics, seconds=0.01, shown_seconds=2.0):
        await eventually(lambda: shown("collections") == 1)
        assert shown("jobs", state="queued") == 0
        assert shown("catalog_refresh_failures_total") == 0
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs RENAME TO jobs_away")
        await eventually(lambda: (shown("catalog_refresh_failures_total") or 0) >= 2)
        seen = shown("catalog_refreshed_timestamp_seconds")
        assert seen
        await eventually(lambda: shown("collections") is None)
        assert shown("jobs", state="queued") is None
        assert shown("jobs_lease_expired") is None
        assert shown("catalog_refreshed_timestamp_seconds") == seen
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs_away RENAME TO jobs")
        await eventually(lambda: shown("collections") == 1)
        assert shown("catalog_refreshed_timestamp_seconds") != seen


async def test_one_refresh_that_fails_takes_no_figure_away(workplace: Workplace) -> None:
    registry = CollectorRegistry()
    async with CatalogMetrics(registry).refreshing(Statistics(workplace.database), seconds=0.01):
        await eventually(lambda: registry.get_sample_value("similis_collections") == 0)
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs RENAME TO jobs_away")
        await eventually(lambda: (registry.get_sample_value("similis_catalog_refresh_failures_total") or 0) >= 1)
        assert registry.get_sample_value("similis_collections") == 0
        async with workplace.database.connection() as connection:
            await connection.execute("ALTER TABLE jobs_away RENAME TO jobs")
