"""The catalog's figures as metrics: asked for in the background, never while somebody scrapes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from catalog.statistics import Figures, Statistics
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

REFRESH_SECONDS = 15.0
# Less than a refresh apart, so that a database that hangs shows as failures.
TIMEOUT_SECONDS = 10.0
# Older figures are not shown: no figure is better than a wrong one, and its absence is noticed.
SHOWN_SECONDS = 60.0

NOTHING = Figures(jobs={}, oldest_queued=0, lease_expired=0, oldest_progress=0, collections=0, images=0, index_images=0)


class CatalogMetrics:
    """All gateways and trainers show the same figures: a query takes their `max`, not their sum."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._figures = _FreshFigures()
        registry.register(self._figures)
        self._refreshed = Gauge(
            "similis_catalog_refreshed_timestamp_seconds",
            "When the figures of the catalog were last read; 0: never.",
            registry=registry,
        )
        self._failures = Counter(
            "similis_catalog_refresh_failures_total", "Times that the figures could not be read.", registry=registry
        )

    @asynccontextmanager
    async def refreshing(
        self, statistics: Statistics, seconds: float = REFRESH_SECONDS, shown_seconds: float = SHOWN_SECONDS
    ) -> AsyncIterator[None]:
        """Reads the figures again and again while entered; the last ones are shown for `shown_seconds` without news."""
        async with in_background(self._refresh(statistics, seconds, shown_seconds), "catalog-metrics"):
            yield

    async def _refresh(self, statistics: Statistics, seconds: float, shown_seconds: float) -> None:
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    self._figures.show(await statistics.figures(), shown_seconds)
                self._refreshed.set_to_current_time()
            except Exception as error:
                # A schema that is not there yet, a database that is away: the next time may succeed.
                self._failures.inc()
                log.warning("catalog_figures_failed", reason=repr(error)[:200])
            await asyncio.sleep(seconds)


class _FreshFigures(Collector):
    """Figures that were read, for as long as they are worth something."""

    def __init__(self) -> None:
        self._figures = NOTHING
        self._shown_until = 0.0

    def show(self, figures: Figures, seconds: float) -> None:
        self._figures, self._shown_until = figures, time.monotonic() + seconds

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if time.monotonic() < self._shown_until:
            yield from _gauges(self._figures)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return _gauges(NOTHING)


def _gauges(figures: Figures) -> Iterator[GaugeMetricFamily]:
    jobs = GaugeMetricFamily("similis_jobs", "Collections by the state of their newest finetune.", labels=["state"])
    for state, count in figures.jobs.items():
        jobs.add_metric([state.value], count)
    yield jobs
    for name, text, value in (
        (
            "similis_jobs_oldest_queued_seconds",
            "Age of the oldest queued job; 0 if there is none.",
            figures.oldest_queued,
        ),
        ("similis_jobs_lease_expired", "Running jobs whose lease is over.", figures.lease_expired),
        (
            "similis_job_oldest_progress_seconds",
            "The longest time since a running job came further; 0 if none runs.",
            figures.oldest_progress,
        ),
        ("similis_collections", "Collections.", figures.collections),
        ("similis_images", "Rows of the newest contents of all collections.", figures.images),
        ("similis_index_images", "Images in the indexes that search serves.", figures.index_images),
    ):
        yield GaugeMetricFamily(name, text, value=value)
