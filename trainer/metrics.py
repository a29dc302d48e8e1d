"""The trainer's metrics. All labels have a fixed set of values."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catalog.metrics import CatalogMetrics
from servicekit.telemetry.metrics import RpcClientMetrics, RpcServerMetrics, UpstreamMetrics

# Each of these series exists before its first event: a counter that appears with it has not increased, for Prometheus.
IMAGE_OUTCOMES = ("embedded", "known", "unchanged", "failed")
JOB_OUTCOMES = ("done", "failed", "cancelled", "released", "lost", "abandoned")
RECORD_OUTCOMES = ("read", "unchanged", "deleted", "failed")
PHASES = ("fetching", "first_index", "views", "fitting", "checking", "indexing", "publishing")
REMOVED_KINDS = ("images", "collection", "index", "vectors")
PHASE_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 43200)


class JobMetrics:
    """The metrics of one kind of job. name: its plural, as in the metrics' names; what: the same in their texts."""

    def __init__(self, registry: CollectorRegistry, name: str, what: str) -> None:
        self.outcomes = Counter(
            f"similis_trainer_{name}_total", f"{what} run by this process, by outcome.", ["outcome"], registry=registry
        )
        self.running = Gauge(
            f"similis_trainer_{name}_running", f"{what} in progress in this process.", registry=registry
        )
        for outcome in JOB_OUTCOMES:
            self.outcomes.labels(outcome)


class TrainerMetrics:
    """All metrics of one trainer process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.rpc = RpcServerMetrics(registry)
        self.rpc_client = RpcClientMetrics(registry)
        self.upstreams = UpstreamMetrics(registry)
        self.catalog = CatalogMetrics(registry)
        self.images = Counter(
            "similis_trainer_images_total",
            "Rows processed by finetunes, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.failures = Counter(
            "similis_trainer_image_failures_total", "Rows that failed, by reason.", ["reason"], registry=registry
        )
        self.warnings = Counter(
            "similis_trainer_image_warnings_total",
            "Rows that were indexed although something was wrong with their image, by warning.",
            ["warning"],
            registry=registry,
        )
        self.downloaded_bytes = Counter(
            "similis_trainer_downloaded_bytes_total", "Bytes of downloaded images.", registry=registry
        )
        self.finetunes = JobMetrics(registry, "jobs", "Jobs")
        self.readings = JobMetrics(registry, "readings", "Readings of sources")
        self.records = Counter(
            "similis_trainer_records_total", "Records read from sources, by outcome.", ["outcome"], registry=registry
        )
        self.phases = Histogram(
            "similis_trainer_phase_duration_seconds",
            "Duration of job phases, by phase.",
            ["phase"],
            buckets=PHASE_BUCKETS,
            registry=registry,
        )
        self.dropped = Counter(
            "similis_trainer_janitor_removed_total",
            "Objects removed by the janitor, by kind.",
            ["kind"],
            registry=registry,
        )
        for counter, values in (
            (self.images, IMAGE_OUTCOMES),
            (self.records, RECORD_OUTCOMES),
            (self.dropped, REMOVED_KINDS),
        ):
            for value in values:
                counter.labels(value)
        for phase in PHASES:
            self.phases.labels(phase)
