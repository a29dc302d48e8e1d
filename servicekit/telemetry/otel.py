"""Traces by OpenTelemetry, sent over OTLP; the standard OTEL_ variables say where to, and how many."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from servicekit.telemetry.tracing import Attributes, Headers, Kind, Span
from servicekit.version import VERSION

KINDS = {
    Kind.SERVER: trace.SpanKind.SERVER,
    Kind.CLIENT: trace.SpanKind.CLIENT,
    Kind.INTERNAL: trace.SpanKind.INTERNAL,
}


class OtelTracer:
    """Spans of this process, as OpenTelemetry's SDK keeps and sends them."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("similis", VERSION)
        self._format = TraceContextTextMapPropagator()

    @classmethod
    @contextmanager
    def exporting(cls, service: str) -> Iterator["OtelTracer"]:
        """A tracer while entered; at the end what was not sent yet is."""
        resource = Resource.create({SERVICE_VERSION: VERSION})
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: f"similis-{service}"}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        try:
            yield cls(provider)
        finally:
            provider.shutdown()

    @contextmanager
    def begin(self, name: str, kind: Kind, attributes: Attributes, headers: Headers | None) -> Iterator[Span]:
        """See `Tracer`."""
        given = otel_context.Context() if headers is None else self._format.extract(headers, otel_context.Context())
        with self._entered(name, kind, attributes, given) as span:
            yield span

    @contextmanager
    def inside(self, name: str, kind: Kind, attributes: Attributes) -> Iterator[Span]:
        """See `Tracer`."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield _OtelSpan(trace.INVALID_SPAN)
            return
        with self._entered(name, kind, attributes, None) as span:
            yield span

    def past(self, name: str, attributes: Attributes, seconds: float, error_type: str | None) -> None:
        """See `Tracer`."""
        if not trace.get_current_span().is_recording():
            return
        end = time.time_ns()
        begin = end - int(seconds * 1e9)
        span = self._tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=dict(attributes), start_time=begin)
        if error_type is not None:
            _OtelSpan(span).fail(error_type)
        span.end(end)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """See `Tracer`."""
        carrier: dict[str, str] = {}
        self._format.inject(carrier)
        return tuple(carrier.items())

    def ids(self) -> dict[str, str]:
        """See `Tracer`."""
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return {}
        return {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}

    @contextmanager
    def _entered(
        self, name: str, kind: Kind, attributes: Attributes, context: otel_context.Context | None
    ) -> Iterator[Span]:
        # What an exception says may hold what a request said: only its kind is kept.
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=KINDS[kind],
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            ours = _OtelSpan(span)
            try:
                yield ours
            except BaseException as error:
                ours.fail(type(error).__name__)
                raise


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: str | int) -> None:
        self._span.set_attribute(name, value)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(trace.StatusCode.ERROR)
