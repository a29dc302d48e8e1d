"""The gateway's metrics."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catalog.metrics import CatalogMetrics
from servicekit.telemetry.metrics import LATENCY_BUCKETS, RpcClientMetrics, UpstreamMetrics

BYTE_BUCKETS = (1e3, 1e4, 1e5, 1e6, 1e7, 5e7, 1e8, 2.5e8)


class GatewayMetrics:
    """Latencies of requests, and of the stages of searches and uploads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.rpc_client = RpcClientMetrics(registry)
        self.upstreams = UpstreamMetrics(registry)
        self.catalog = CatalogMetrics(registry)
        self.requests = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests, by method, route template and status.",
            ["http_request_method", "http_route", "http_response_status_code"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.active = Gauge("http_server_active_requests", "HTTP requests in progress.", registry=registry)
        self._search_stage = Histogram(
            "similis_search_stage_duration_seconds",
            "Duration of a stage of a search: queue, index, vectors, embed, query or rows.",
            ["stage"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._upload_stage = Histogram(
            "similis_upload_stage_duration_seconds",
            "Duration of a stage of an upload: receive, queue, read, heidicon or store.",
            ["stage"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.upload_bytes = Histogram(
            "similis_upload_size_bytes",
            "Size of stored CSVs.",
            buckets=BYTE_BUCKETS,
            registry=registry,
        )
        self.search_retries = Counter(
            "similis_search_retries_total",
            "Searches that were repeated on a newer index because the previous one had been dropped.",
            registry=registry,
        )

    @contextmanager
    def search_stage(self, stage: str) -> Iterator[None]:
        """Measure one stage of a search."""
        with self._search_stage.labels(stage).time():
            yield

    @contextmanager
    def upload_stage(self, stage: str) -> Iterator[None]:
        """Measure one stage of an upload."""
        with self._upload_stage.labels(stage).time():
            yield
