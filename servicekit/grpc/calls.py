"""Outgoing gRPC calls: their latency, their spans and the metadata that every call carries."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from opentelemetry.trace import SpanKind

from servicekit.grpc.channel import call_metadata
from servicekit.telemetry.metrics import RpcClientMetrics
from servicekit.telemetry.tracing import child_span, rpc_attributes, trace_headers

Metadata = tuple[tuple[str, str], ...]


class RpcCalls:
    """Measure and trace the calls to one gRPC service."""

    def __init__(self, service: str, metrics: RpcClientMetrics) -> None:
        """service: the full name, such as "similis.embedder.v1.EmbedderService"."""
        self._service = service
        self._metrics = metrics

    @contextmanager
    def call(self, method: str) -> Iterator[Metadata]:
        """Measure the one call or stream that the block makes. Yields the metadata to send with it."""
        status, began = grpc.StatusCode.OK, time.perf_counter()
        try:
            name, attributes = f"{self._service}/{method}", rpc_attributes(self._service, method)
            with child_span(name, attributes, kind=SpanKind.CLIENT):
                yield (*call_metadata(), *trace_headers())
        except grpc.aio.AioRpcError as error:
            status = error.code()
            raise
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        except BaseException:
            status = grpc.StatusCode.UNKNOWN
            raise
        finally:
            seconds = time.perf_counter() - began
            self._metrics.duration.labels(self._service, method, status.name).observe(seconds)
