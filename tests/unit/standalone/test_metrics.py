"""The metrics of several processes, merged."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from servicekit.telemetry.metrics import metrics_endpoint
from standalone.metrics import InstanceMetrics
from tests.promtool import check_metrics


def service(name: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    things = Counter("things_total", "Things.", ["kind"], registry=registry)
    things.labels("good").inc(2 if name == "one" else 3)
    Histogram("wait_seconds", "Waiting.", buckets=(1, 2), registry=registry).observe(1.5)
    return registry


async def test_samples_of_all_services_are_merged_and_labelled_by_service(tmp_path: Path) -> None:
    sockets = {name: tmp_path / f"{name}.sock" for name in ("one", "two", "gone")}
    metrics = InstanceMetrics(sockets, tmp_path)
    async with (
        metrics_endpoint(service("one"), f"unix:{sockets['one']}", 0),
        metrics_endpoint(service("two"), f"unix:{sockets['two']}", 0),
    ):
        text = (await metrics.exposition()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert text.count("# TYPE things_total counter") == 1
    found = {(s.labels["service"], s.labels["kind"]): s.value for s in families["things"].samples if "kind" in s.labels}
    assert found == {("one", "good"): 2, ("two", "good"): 3}
    counts = [
        s for s in families["wait_seconds"].samples if s.name == "wait_seconds_bucket" and s.labels["le"] == "2.0"
    ]
    assert [sample.value for sample in counts] == [1, 1]
    up = {sample.labels["service"]: sample.value for sample in families["similis_process_up"].samples}
    assert up == {"one": 1, "two": 1, "gone": 0}
    (disk,) = families["similis_disk_free_bytes"].samples
    assert disk.labels == {"service": "standalone", "volume": "data"}
    assert check_metrics(text.encode()) == ""
