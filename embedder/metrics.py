"""The metrics of the embedder."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WAIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WORK_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
# Each of these series exists before its first event: a counter that appears with it has not increased, for Prometheus.
LANES = ("interactive", "bulk")
IMAGE_OUTCOMES = (
    "embedded",
    "cancelled",
    "not_an_image",
    "decode_error",
    "image_too_large",
    "image_too_slow",
    "image_crashed_decoder",
    "embedding_failed",
)
TEXT_OUTCOMES = ("embedded", "truncated", "cancelled", "embedding_failed")
WORKER_ENDS = ("died", "slow", "memory", "age")
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class EmbedderMetrics:
    """Metrics of queues, batches, the duration of each step, outcomes and workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue_items = Gauge(
            "embedder_queue_items", "Images waiting in the queue, by lane.", ["lane"], registry=registry
        )
        self.queue_bytes = Gauge(
            "embedder_queue_bytes", "Encoded bytes waiting in the queue, by lane.", ["lane"], registry=registry
        )
        self.queue_wait = Histogram(
            "embedder_queue_wait_seconds",
            "Time that images waited in the queue, by lane.",
            ["lane"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "embedder_batch_size",
            "Images and views per forward pass.",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.decode = Histogram(
            "embedder_decode_seconds",
            "Time to decode and preprocess an image with its views.",
            buckets=WORK_BUCKETS,
            registry=registry,
        )
        self.copy = Histogram(
            "embedder_copy_seconds", "Time to copy a batch to the device.", buckets=WORK_BUCKETS, registry=registry
        )
        self.forward = Histogram(
            "embedder_forward_seconds", "Duration of a forward pass.", buckets=WORK_BUCKETS, registry=registry
        )
        self.images = Counter(
            "embedder_images",
            "Images, by lane and outcome: embedded, cancelled or an error code.",
            ["lane", "outcome"],
            registry=registry,
        )
        self.texts = Counter(
            "embedder_texts",
            "Texts, by outcome: embedded, truncated (embedded without its end), cancelled or an error code.",
            ["outcome"],
            registry=registry,
        )
        self.text_seconds = Histogram(
            "embedder_text_seconds", "Time to tokenize and embed a text.", buckets=WORK_BUCKETS, registry=registry
        )
        self.retries = Counter(
            "embedder_retries",
            "Images and texts retried because their worker exited or their batch failed.",
            registry=registry,
        )
        self.worker_ends = Counter(
            "embedder_worker_ends", "Workers replaced, by reason.", ["reason"], registry=registry
        )
        self.workers = Gauge(
            "embedder_workers_ready", "Workers that accept images, by role.", ["role"], registry=registry
        )
        self.ready = Gauge("embedder_ready", "1 if the embedder can embed images, otherwise 0.", registry=registry)
        for lane in LANES:
            for outcome in IMAGE_OUTCOMES:
                self.images.labels(lane, outcome)
        for outcome in TEXT_OUTCOMES:
            self.texts.labels(outcome)
        for reason in WORKER_ENDS:
            self.worker_ends.labels(reason)
