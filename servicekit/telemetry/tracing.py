"""Traces with OpenTelemetry: one for each request and one for each job, across all services.

OpenTelemetry's API does nothing until the process has an SDK, and `is_tracing` makes that case nearly free. A span
holds names and counts, never the content of a request, a statement or an error.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from servicekit.version import VERSION

Attributes: TypeAlias = Mapping[str, str | int]
Headers: TypeAlias = Mapping[str, str]

_tracer = trace.get_tracer("similis", VERSION)
_propagator = TraceContextTextMapPropagator()
_databases: ContextVar[bool] = ContextVar("databases", default=True)
_NO_SPAN = nullcontext(trace.INVALID_SPAN)


def is_tracing() -> bool:
    """Return whether this process has an SDK that records spans."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def no_span() -> AbstractContextManager[Span]:
    """Return a span that is not recorded."""
    return _NO_SPAN


def root_span(
    name: str, attributes: Attributes, *, kind: SpanKind = SpanKind.INTERNAL, headers: Headers | None = None
) -> AbstractContextManager[Span]:
    """Record a span while the block runs, in the trace that `headers` name or else in a new trace."""
    if not is_tracing():
        return _NO_SPAN
    parent = Context() if headers is None else _propagator.extract(headers, Context())
    return _entered(name, kind, attributes, parent)


def continued_span(name: str, attributes: Attributes, headers: Headers) -> AbstractContextManager[Span]:
    """Record a server's span in the trace of its caller. A call without a trace, such as a probe, gets no span."""
    if "traceparent" not in headers:
        return _NO_SPAN
    return root_span(name, attributes, kind=SpanKind.SERVER, headers=headers)


def child_span(
    name: str, attributes: Attributes | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> AbstractContextManager[Span]:
    """Record a span inside the current one. Outside any span nothing is recorded."""
    if not _is_inside_a_span():
        return _NO_SPAN
    return _entered(name, kind, attributes or {}, None)


def fail_span(span: Span, error_type: str) -> None:
    """Mark a span as failed. error_type: the name of a class or of a status, never a message."""
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def database_call(name: str, attributes: Attributes, seconds: float, error_type: str | None = None) -> None:
    """Record a call to a database that has just ended, inside the current span."""
    if not trace.get_current_span().is_recording() or not _databases.get():
        return
    end = time.time_ns()
    begin = end - int(seconds * 1e9)
    span = _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=dict(attributes), start_time=begin)
    if error_type is not None:
        fail_span(span, error_type)
    span.end(end)


@contextmanager
def without_databases() -> Iterator[None]:
    """Do not record calls to databases while the block runs: a job makes a hundred thousand of them."""
    token = _databases.set(False)
    try:
        yield
    finally:
        _databases.reset(token)


def rpc_attributes(service: str, method: str) -> Attributes:
    """Return the attributes of an RPC's span, on either side."""
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def trace_headers() -> tuple[tuple[str, str], ...]:
    """Return the headers with which the next hop continues the trace (W3C's traceparent)."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return tuple(carrier.items())


def trace_ids() -> dict[str, str]:
    """Return trace_id and span_id for the log; nothing outside any span."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _is_inside_a_span() -> bool:
    return trace.get_current_span().get_span_context().is_valid


@contextmanager
def _entered(name: str, kind: SpanKind, attributes: Attributes, parent: Context | None) -> Iterator[Span]:
    # Only the class of an exception is recorded, because its text may repeat the content of a request.
    with _tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=dict(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            fail_span(span, type(error).__name__)
            raise
