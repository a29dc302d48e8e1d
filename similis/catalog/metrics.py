"""The catalog's figures as metrics: asked for in the background, never while somebody scrapes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from similis.catalog.statistics import Figures, Statistics
from similis.servicekit.logs import get_logger

log = get_logger(__name__)

REFRESH_SECONDS = 15.0
# Less than a refresh apart, so that a database that hangs shows as failures.
TIMEOUT_SECONDS = 10.0


class CatalogMetrics:
    """All gateways and trainers show the same figures: a query takes their `max`, not their sum."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._jobs = gauge("similis_jobs", "Collections by the state of their newest finetune.", "state")
        self._queued = gauge("similis_jobs_oldest_queued_seconds", "Age of the oldest queued job; 0 if there is none.")
        self._expired = gauge("similis_jobs_lease_expired", "Running jobs whose lease is over.")
        self._progress = gauge(
            "similis_job_oldest_progress_seconds",
            "The longest time since a running job came further; 0 if none runs.",
        )
        self._collections = gauge("similis_collections", "Collections.")
        self._images = gauge("similis_images", "Rows of the newest contents of all collections.")
        self._index_images = gauge("similis_index_images", "Images in the indexes that search serves.")
        self._refreshed = gauge(
            "similis_catalog_refreshed_timestamp_seconds", "When the figures of the catalog were last read; 0: never."
        )
        self._failures = Counter(
            "similis_catalog_refresh_failures_total", "Times that the figures could not be read.", registry=registry
        )

    @asynccontextmanager
    async def refreshed(self, statistics: Statistics, seconds: float = REFRESH_SECONDS) -> AsyncIterator[None]:
        """Keeps the figures up to date while entered; those of a database that is away stay as they were."""
        task = asyncio.create_task(self._refresh(statistics, seconds), name="catalog-metrics")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _refresh(self, statistics: Statistics, seconds: float) -> None:
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    self._show(await statistics.figures())
            except Exception as error:
                # A schema that is not there yet, a database that is away: the next time may succeed.
                self._failures.inc()
                log.warning("catalog_figures_failed", reason=repr(error)[:200])
            await asyncio.sleep(seconds)

    def _show(self, figures: Figures) -> None:
        for state, count in figures.jobs.items():
            self._jobs.labels(state.value).set(count)
        self._queued.set(figures.oldest_queued)
        self._expired.set(figures.lease_expired)
        self._progress.set(figures.oldest_progress)
        self._collections.set(figures.collections)
        self._images.set(figures.images)
        self._index_images.set(figures.index_images)
        self._refreshed.set_to_current_time()
