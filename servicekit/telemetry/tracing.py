"""Traces: one for each request and each job, over every hop. Off unless an operator asks for them.

Like the log, the tracer belongs to the process: it is chosen once, where the process begins. What a span holds is names
and counts, never what a request, a statement or an error says.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from enum import Enum
from typing import Protocol, TypeAlias

Attributes: TypeAlias = Mapping[str, str | int]
Headers: TypeAlias = Mapping[str, str]


class Kind(Enum):
    """Which side of a hop a span is, in OpenTelemetry's terms."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class Span(Protocol):
    """Something that goes on."""

    def set(self, name: str, value: str | int) -> None:
        """Says more about it."""

    def fail(self, error_type: str) -> None:
        """Says that it failed, and in which way: a class's or a status's name."""


class Tracer(Protocol):
    """Where spans go."""

    def begin(
        self, name: str, kind: Kind, attributes: Attributes, headers: Headers | None
    ) -> AbstractContextManager[Span]:
        """A span that goes on while entered; in the trace that `headers` name, where they do, else in a new one."""

    def inside(self, name: str, kind: Kind, attributes: Attributes) -> AbstractContextManager[Span]:
        """A span inside of the one that goes on; none outside of any."""

    def past(self, name: str, attributes: Attributes, seconds: float, error_type: str | None) -> None:
        """A call to a database inside of the span that goes on, which has just ended."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What the next hop must be told to go on with the trace (W3C's traceparent)."""

    def ids(self) -> dict[str, str]:
        """trace_id and span_id for the log; nothing outside of any span."""


class _NoSpan:
    def set(self, name: str, value: str | int) -> None: ...

    def fail(self, error_type: str) -> None: ...


_NO_SPAN = nullcontext(_NoSpan())


class _Off:
    """No traces."""

    def begin(
        self,
        name: str,  # noqa: ARG002
        kind: Kind,  # noqa: ARG002
        attributes: Attributes,  # noqa: ARG002
        headers: Headers | None,  # noqa: ARG002
    ) -> AbstractContextManager[Span]:
        return _NO_SPAN

    def inside(self, name: str, kind: Kind, attributes: Attributes) -> AbstractContextManager[Span]:  # noqa: ARG002
        return _NO_SPAN

    def past(self, name: str, attributes: Attributes, seconds: float, error_type: str | None) -> None: ...

    def headers(self) -> tuple[tuple[str, str], ...]:
        return ()

    def ids(self) -> dict[str, str]:
        return {}


_tracer: Tracer = _Off()
_databases: ContextVar[bool] = ContextVar("databases", default=True)


def tracer() -> Tracer:
    """The tracer of this process."""
    return _tracer


def is_tracing() -> bool:
    """Whether spans go anywhere."""
    return not isinstance(_tracer, _Off)


def no_span() -> AbstractContextManager[Span]:
    """In place of one where none is wanted."""
    return _NO_SPAN


def rpc_attributes(service: str, method: str) -> Attributes:
    """What a span of an RPC says, on both sides."""
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def continued(name: str, attributes: Attributes, headers: Headers) -> AbstractContextManager[Span]:
    """A span of a server that goes on with its caller's trace; none where the caller has no trace."""
    if "traceparent" not in headers:
        return _NO_SPAN
    return _tracer.begin(name, Kind.SERVER, attributes, headers)


@contextmanager
def without_databases() -> Iterator[None]:
    """Calls to databases are not shown while entered: a job makes a hundred thousand of them."""
    token = _databases.set(False)
    try:
        yield
    finally:
        _databases.reset(token)


def database_call(name: str, attributes: Attributes, seconds: float, error_type: str | None = None) -> None:
    """Shows a call that has just ended, inside of the span that goes on."""
    if _databases.get():
        _tracer.past(name, attributes, seconds, error_type)


@contextmanager
def tracing_with(chosen: Tracer) -> Iterator[None]:
    """This process's tracer is `chosen` while entered."""
    global _tracer
    before, _tracer = _tracer, chosen
    try:
        yield
    finally:
        _tracer = before
