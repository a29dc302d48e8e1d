"""`similis up --metrics-port`: the metrics of all processes at one address."""

import re
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running_instance import RunningInstance, data_with_shared_models, until
from tests.promtool import check_metrics

# The series that dashboards and alerts use, and the service that has them.
EXPECTED = {
    ("similis_build_info", "gateway"),
    ("similis_build_info", "embedder"),
    ("similis_build_info", "trainer"),
    ("similis_build_info", "standalone"),
    ("http_server_request_duration_seconds_count", "gateway"),
    ("rpc_client_duration_seconds_count", "gateway"),
    ("rpc_client_duration_seconds_count", "trainer"),
    ("rpc_server_duration_seconds_count", "embedder"),
    ("similis_jobs", "gateway"),
    ("similis_jobs", "trainer"),
    ("similis_jobs_oldest_queued_seconds", "gateway"),
    ("similis_jobs_lease_expired", "gateway"),
    ("similis_job_oldest_progress_seconds", "gateway"),
    ("similis_catalog_refreshed_timestamp_seconds", "gateway"),
    ("similis_catalog_refresh_failures_total", "gateway"),
    ("similis_collections", "gateway"),
    ("similis_images", "gateway"),
    ("similis_index_images", "gateway"),
    ("similis_upstream_up", "gateway"),
    ("similis_upstream_up", "trainer"),
    ("similis_disk_free_bytes", "gateway"),
    ("similis_disk_free_bytes", "embedder"),
    ("similis_disk_free_bytes", "trainer"),
    ("similis_disk_free_bytes", "standalone"),
    ("embedder_ready", "embedder"),
}


def scrape(address: str) -> bytes:
    with urlopen(address, timeout=20) as answer:  # noqa: S310 - our own process
        content: bytes = answer.read()
    return content


def samples(exposition: bytes) -> dict[tuple[str, str], float]:
    """Return the sum of the samples of each name and service."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            name = (sample.name, sample.labels["service"])
            found[name] = found.get(name, 0.0) + sample.value
    return found


def test_one_address_has_the_metrics_of_all_processes_in_a_valid_format(tmp_path: Path) -> None:
    data = data_with_shared_models(tmp_path / "data")
    instance = RunningInstance.start(data, "--metrics-port", "0", environment={"SIMILIS_WORKERS": "1"})
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+/metrics", instance.log())
        assert found is not None, instance.log()
        address = found[0]
        assert instance.get("/metrics") == 404, "the gateway's own metrics have moved to the shared address"
        until(lambda: samples(scrape(address)).keys() >= EXPECTED)
        until(lambda: samples(scrape(address))["similis_upstream_up", "gateway"] == 4)
        exposition = scrape(address)
        assert check_metrics(exposition) == ""

        trainer, before = instance.child("trainer"), instance.times_ready("trainer")
        # A trainer that is killed right away may be back before it is missed.
        trainer.suspend()
        until(lambda: ("similis_build_info", "trainer") not in samples(scrape(address)))
        trainer.kill()
        until(lambda: instance.times_ready("trainer") == before + 1)
        until(lambda: samples(scrape(address))["similis_process_up", "trainer"] == 1)
    finally:
        assert instance.stop() == 0
