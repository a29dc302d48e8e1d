"""The embedder's metrics before anything has happened."""

from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics


def test_the_series_that_alerts_ask_for_exist_before_the_first_event() -> None:
    registry = CollectorRegistry()
    EmbedderMetrics(registry)
    assert registry.get_sample_value("embedder_worker_ends_total", {"reason": "died"}) == 0
    for lane in ("interactive", "bulk"):
        assert registry.get_sample_value("embedder_images_total", {"lane": lane, "outcome": "embedding_failed"}) == 0
