"""The gateway's metrics before anything has happened."""

from prometheus_client import CollectorRegistry

from gateway.metrics import GatewayMetrics


def test_the_series_of_searches_exist_before_the_first_search() -> None:
    registry = CollectorRegistry()
    GatewayMetrics(registry)
    labels = {"http_request_method": "POST", "http_route": "/api/collection/{id}/search"}
    for status in ("200", "429", "500", "503", "504"):
        found = {**labels, "http_response_status_code": status}
        assert registry.get_sample_value("http_server_request_duration_seconds_count", found) == 0
    assert registry.get_sample_value("similis_search_stage_duration_seconds_count", {"stage": "embed"}) == 0
