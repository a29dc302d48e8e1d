"""The trainer's metrics before anything has happened."""

from prometheus_client import CollectorRegistry

from trainer import metrics
from trainer.jobs.progress import Phase
from trainer.jobs.worker import Outcome


def test_the_series_of_jobs_exist_before_the_first_job() -> None:
    registry = CollectorRegistry()
    metrics.TrainerMetrics(registry)
    for outcome in Outcome:
        assert registry.get_sample_value("similis_trainer_jobs_total", {"outcome": outcome.value}) == 0
    for phase in Phase:
        assert registry.get_sample_value("similis_trainer_phase_duration_seconds_count", {"phase": phase.value}) == 0
    assert registry.get_sample_value("similis_trainer_images_total", {"outcome": "failed"}) == 0
