"""The gateway's metrics."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catalog.metrics import CatalogMetrics
from servicekit.telemetry.metrics import LATENCY_BUCKETS, RpcClientMetrics, UpstreamMetrics

SEARCH_STAGES = ("index", "download", "queue", "embed", "vectors", "query", "rows")
UPLOAD_STAGES = ("receive", "queue", "read", "heidicon", "store")
THUMBNAIL_OUTCOMES = ("made", "kept", "failed")
# What the alerts ask for. A counter that appears with its first event has not increased, for Prometheus.
SEARCH_ROUTE = "/api/collection/{id}/search"
SEARCH_STATUSES = ("200", "429", "500", "503", "504")
# Why the gateway closes or refuses a connection.
CLOSED_CONNECTIONS = ("idle", "slow_head", "slow_reader", "refused")
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
        for status in SEARCH_STATUSES:
            self.requests.labels("POST", SEARCH_ROUTE, status)
        self.active = Gauge("http_server_active_requests", "HTTP requests in progress.", registry=registry)
        self.search_limit = Gauge(
            "similis_search_concurrency_limit",
            "The searches that may run at a time. The gateway lowers it where more only take longer.",
            registry=registry,
        )
        self.connections = Gauge("similis_connections", "Open connections of clients.", registry=registry)
        self.connections_closed = Counter(
            "similis_connections_closed_total",
            "Connections that the gateway closed or refused: idle, slow_head, slow_reader or refused.",
            ["reason"],
            registry=registry,
        )
        for reason in CLOSED_CONNECTIONS:
            self.connections_closed.labels(reason)
        search_stage = Histogram(
            "similis_search_stage_duration_seconds",
            "Duration of a stage of a search: index, download, queue, embed, vectors, query or rows.",
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
        self._search_stages = {stage: search_stage.labels(stage) for stage in SEARCH_STAGES}
        for stage in UPLOAD_STAGES:
            self._upload_stage.labels(stage)
        self.upload_bytes = Histogram(
            "similis_upload_size_bytes",
            "Size of stored CSVs.",
            buckets=BYTE_BUCKETS,
            registry=registry,
        )
        self.held_vectors = Gauge(
            "similis_held_vector_bytes",
            "Memory of the vectors of small collections that the gateway compares without Qdrant.",
            registry=registry,
        )
        self.search_retries = Counter(
            "similis_search_retries_total",
            "Searches that were repeated on a newer index because the previous one had been dropped.",
            registry=registry,
        )

        self.thumbnails = Counter(
            "similis_thumbnails_total",
            "Thumbnails that were asked for: made, kept on disk from before, or failed.",
            ["outcome"],
            registry=registry,
        )
        for outcome in THUMBNAIL_OUTCOMES:
            self.thumbnails.labels(outcome)

    def search_stage(self, stage: str) -> AbstractContextManager[object]:
        """Measure one stage of a search while entered."""
        return self._search_stages[stage].time()

    @contextmanager
    def upload_stage(self, stage: str) -> Iterator[None]:
        """Measure one stage of an upload."""
        with self._upload_stage.labels(stage).time():
            yield
