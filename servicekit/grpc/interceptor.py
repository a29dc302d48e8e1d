"""The interceptor around every RPC that we answer: request id, deadline, span, latency and error status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol, TypeVar, cast

import grpc

from servicekit.errors import ServiceError
from servicekit.grpc import status as grpc_status
from servicekit.request_context import REQUEST_ID_KEY, accepted_request_id, request_scope
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import RpcServerMetrics
from servicekit.telemetry.tracing import continued_span, rpc_attributes

log = get_logger(__name__)

# Only our own services are intercepted. Health and reflection come from libraries.
OWN_PREFIX = "/similis."
# How long after a failed write gRPC may take to cancel the call. It takes milliseconds unless the machine is busy.
LEAVING_SECONDS = 2.0

Req = TypeVar("Req")
Res = TypeVar("Res")
Context = grpc.aio.ServicerContext[object, object]


class _Handler(Protocol):
    request_streaming: bool
    response_streaming: bool
    request_deserializer: Callable[[bytes], object]
    response_serializer: Callable[[object], bytes]
    unary_unary: Callable[[object, Context], Awaitable[object]]
    unary_stream: Callable[[object, Context], AsyncGenerator[object, None]]
    stream_stream: Callable[[object, Context], AsyncGenerator[object, None]]


class ServiceInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Wrap the handlers of our own services."""

    def __init__(self, metrics: RpcServerMetrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Req, Res]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Req, Res]:
        """Return the wrapped handler of a call. Handlers of other services are returned unchanged."""
        found = await continuation(handler_call_details)
        method = handler_call_details.method
        if found is None or not method.startswith(OWN_PREFIX):
            return found
        handler = cast("_Handler", found)
        if handler.response_streaming:
            kind = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            wrapped: object = self._streaming(method, inner)
        else:
            kind = grpc.unary_unary_rpc_method_handler
            wrapped = self._unary(method, handler.unary_unary)
        make = cast("Callable[..., grpc.RpcMethodHandler[Req, Res]]", kind)
        return make(
            wrapped,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _unary(
        self, method: str, inner: Callable[[object, Context], Awaitable[object]]
    ) -> Callable[[object, Context], Awaitable[object]]:
        async def call(request: object, context: Context) -> object:
            with _scope(method, context), _Observed(self._metrics, method, context) as observed:
                try:
                    return await inner(request, context)
                except Exception as error:
                    await observed.refuse(error)
                    raise

        return call

    def _streaming(
        self, method: str, inner: Callable[[object, Context], AsyncGenerator[object, None]]
    ) -> Callable[[object, Context], Awaitable[None]]:
        # A coroutine, not a generator: when the caller leaves, a coroutine is cancelled and closes `inner` at once. A
        # generator that waits for a slow client would be closed later by the garbage collector, in another context.
        async def call(request: object, context: Context) -> None:
            with _scope(method, context), _Observed(self._metrics, method, context) as observed:
                try:
                    async with aclosing(inner(request, context)) as responses:
                        async for response in responses:
                            await _write(context, response)
                except Exception as error:
                    await observed.refuse(error)

        return call


async def _write(context: Context, response: object) -> None:
    """Send a response. If the caller has left, wait for the cancellation of this call."""
    try:
        await context.write(response)
    except grpc.aio.InternalError:
        # When the caller leaves during a write, the write may fail before gRPC cancels this call.
        await asyncio.sleep(LEAVING_SECONDS)
        raise


@contextmanager
def _scope(method: str, context: Context) -> Iterator[None]:
    metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
    name = method.lstrip("/")
    with (
        request_scope(accepted_request_id(metadata.get(REQUEST_ID_KEY)), context.time_remaining()),
        continued_span(name, rpc_attributes(*name.split("/")), metadata),
    ):
        yield


class _Observed:
    """Measure one call, and end it with the right status."""

    def __init__(self, metrics: RpcServerMetrics, method: str, context: Context) -> None:
        self._metrics = metrics
        self._service, self._method = method.lstrip("/").split("/")
        self._context = context
        self._status = grpc.StatusCode.OK
        self._started = 0.0

    def __enter__(self) -> _Observed:
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._status is grpc.StatusCode.OK:
            self._status = grpc.StatusCode.CANCELLED
        duration = time.perf_counter() - self._started
        self._metrics.duration.labels(self._service, self._method, self._status.name).observe(duration)

    async def refuse(self, error: Exception) -> None:
        """End the call with the status of the error. Always raises."""
        if isinstance(error, ServiceError):
            self._status = grpc_status.status_of(error)
            await self._context.abort(self._status, error.message, grpc_status.trailing_metadata(error))
        if isinstance(error, grpc.aio.AbortError):
            self._status = grpc.StatusCode.UNKNOWN
            raise error
        log.error("rpc_failed", rpc=f"{self._service}/{self._method}", exc_info=error)
        self._status = grpc.StatusCode.INTERNAL
        await self._context.abort(self._status, "internal error")
