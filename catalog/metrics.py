"""The catalog's statistics as metrics. They are read in the background, never during a scrape."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from catalog.keys.permissions import EXPIRES_SOON
from catalog.statistics import Snapshot, Statistics
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

REFRESH_SECONDS = 15.0
# Shorter than a refresh interval, so that a database that hangs is counted as a failure.
TIMEOUT_SECONDS = 10.0
# Older values are not exported: a missing value is noticed, a stale one misleads.
EXPORTED_SECONDS = 60.0

EMPTY = Snapshot(
    jobs={},
    oldest_queued=0,
    lease_expired=0,
    oldest_progress=0,
    collections=0,
    images=0,
    index_images=0,
    lost_indexes=0,
    api_keys={},
)


class CatalogMetrics:
    """Exports the statistics. All gateways and trainers export the same values, so queries use `max`, not `sum`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._collector = _SnapshotCollector()
        registry.register(self._collector)
        self._refreshed = Gauge(
            "similis_catalog_refreshed_timestamp_seconds",
            "Unix time at which the catalog's statistics were last read. 0 if never.",
            registry=registry,
        )
        self._failures = Counter(
            "similis_catalog_refresh_failures_total",
            "Failed attempts to read the catalog's statistics.",
            registry=registry,
        )

    @asynccontextmanager
    async def refreshing(
        self, statistics: Statistics, seconds: float = REFRESH_SECONDS, exported_seconds: float = EXPORTED_SECONDS
    ) -> AsyncIterator[None]:
        """Read the statistics every `seconds` while entered. A snapshot is exported for at most `exported_seconds`."""
        async with in_background(self._refresh(statistics, seconds, exported_seconds), "catalog-metrics"):
            yield

    async def _refresh(self, statistics: Statistics, seconds: float, exported_seconds: float) -> None:
        state = StateLog(log, "catalog_statistics_failed", "catalog_statistics_read")
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    self._collector.export(await statistics.snapshot(), exported_seconds)
                self._refreshed.set_to_current_time()
                state.success()
            except Exception as error:
                # The schema may not exist yet, or the database may be down. The next attempt may succeed.
                self._failures.inc()
                state.failure(error)
            await asyncio.sleep(seconds)


class _SnapshotCollector(Collector):
    """Exports the last snapshot until it is too old."""

    def __init__(self) -> None:
        self._snapshot = EMPTY
        self._exported_until = 0.0

    def export(self, snapshot: Snapshot, seconds: float) -> None:
        self._snapshot, self._exported_until = snapshot, time.monotonic() + seconds

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if time.monotonic() < self._exported_until:
            yield from _gauges(self._snapshot)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return _gauges(EMPTY)


def _gauges(snapshot: Snapshot) -> Iterator[GaugeMetricFamily]:
    jobs = GaugeMetricFamily("similis_jobs", "Collections, by the state of their newest finetune.", labels=["state"])
    for state, count in snapshot.jobs.items():
        jobs.add_metric([state.value], count)
    yield jobs
    keys = GaugeMetricFamily(
        "similis_api_keys",
        f"API keys, by state: valid, expiring (within {EXPIRES_SOON.days} days) or expired.",
        labels=["state"],
    )
    for name, count in snapshot.api_keys.items():
        keys.add_metric([name], count)
    yield keys
    for name, text, value in (
        (
            "similis_jobs_oldest_queued_seconds",
            "Age of the oldest queued job. 0 if none is queued.",
            snapshot.oldest_queued,
        ),
        ("similis_jobs_lease_expired", "Running jobs whose lease has expired.", snapshot.lease_expired),
        (
            "similis_job_oldest_progress_seconds",
            "Longest time without progress of any running job. 0 if none is running.",
            snapshot.oldest_progress,
        ),
        ("similis_collections", "Number of collections.", snapshot.collections),
        ("similis_images", "Rows in the newest contents of all collections.", snapshot.images),
        ("similis_index_images", "Images in the live indexes.", snapshot.index_images),
        ("similis_lost_indexes", "Live indexes whose vectors are gone or damaged.", snapshot.lost_indexes),
    ):
        yield GaugeMetricFamily(name, text, value=value)
