"""Spans: their trace, their content, and that nothing is recorded without an SDK."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servicekit.telemetry import tracing
from servicekit.telemetry.tracing import (
    child_span,
    continued_span,
    database_call,
    is_tracing,
    root_span,
    trace_headers,
    trace_ids,
    without_databases,
)

TRACE, CALLER = "a1" * 16, "b2" * 8
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Record spans in memory. OpenTelemetry's global provider is not used, as it can be set only once in a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(tracing, "is_tracing", lambda: True)
    return exporter


def only_span(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_without_an_sdk_nothing_is_recorded_and_no_trace_is_passed_on() -> None:
    assert not is_tracing()
    with root_span("request", {}, headers=HEADERS) as span, child_span("step"):
        database_call("SELECT rows", {}, 0.1)
        assert not span.is_recording()
        assert trace_headers() == ()
        assert trace_ids() == {}


def test_a_request_continues_the_trace_of_its_caller_and_passes_it_on(exporter: InMemorySpanExporter) -> None:
    with root_span("request", {"route": "/search"}, headers=HEADERS):
        ids = trace_ids()
        assert dict(trace_headers())["traceparent"] == f"00-{TRACE}-{ids['span_id']}-01"
    span = only_span(exporter)
    assert ids["trace_id"] == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == CALLER
    assert dict(span.attributes or {}) == {"route": "/search"}


def test_a_job_starts_a_trace_of_its_own(exporter: InMemorySpanExporter) -> None:
    with root_span("request", {}), root_span("job", {}):
        pass
    job, request = exporter.get_finished_spans()
    assert job.parent is None
    assert job.context.trace_id != request.context.trace_id


def test_a_call_without_a_trace_gets_no_span(exporter: InMemorySpanExporter) -> None:
    with continued_span("check", {}, {}):
        pass
    assert not exporter.get_finished_spans()
    with continued_span("check", {}, HEADERS):
        pass
    assert only_span(exporter).kind is trace.SpanKind.SERVER


def test_a_child_span_needs_a_span_around_it(exporter: InMemorySpanExporter) -> None:
    with child_span("alone"):
        pass
    assert not exporter.get_finished_spans()
    with root_span("request", {}), child_span("step"):
        pass
    step, request = exporter.get_finished_spans()
    assert step.parent is not None
    assert step.parent.span_id == request.context.span_id


def test_a_failure_is_recorded_by_its_class_and_not_by_its_text(exporter: InMemorySpanExporter) -> None:
    def fail() -> None:
        with root_span("request", {}):
            raise ValueError("a secret")

    with pytest.raises(ValueError, match="a secret"):
        fail()
    span = only_span(exporter)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}
    assert not span.events
    assert "secret" not in span.to_json()


def test_a_call_to_a_database_is_recorded_with_its_duration_unless_it_is_hidden(exporter: InMemorySpanExporter) -> None:
    with root_span("job", {}):
        database_call("SELECT rows", {"db.system.name": "postgresql"}, 0.25, "Timeout")
        with without_databases():
            database_call("SELECT rows", {}, 0.25)
    call, job = exporter.get_finished_spans()
    assert call.parent is not None
    assert call.parent.span_id == job.context.span_id
    assert call.end_time is not None
    assert call.start_time is not None
    assert call.end_time - call.start_time == pytest.approx(0.25e9, rel=1e-3)
    assert call.status.status_code is trace.StatusCode.ERROR
