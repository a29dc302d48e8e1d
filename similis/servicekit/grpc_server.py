"""A gRPC server as all our services run it: health, reflection, errors, request ids, latency, drain."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]
from grpc_reflection.v1alpha import reflection

from similis.servicekit.grpc_interceptor import ServiceInterceptor
from similis.servicekit.metrics import RpcServerMetrics

# An encoded image of 20 MiB and what surrounds it.
MAX_MESSAGE_BYTES = 24 * 1024 * 1024
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # Clients look for new replicas when a connection ends, so connections end.
    ("grpc.max_connection_age_ms", 10 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 60 * 1000),
    ("grpc.keepalive_time_ms", 60 * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10 * 1000),
)


@dataclass(frozen=True)
class RunningServer:
    """A server that accepts calls. `health` is told what its parts can do; `port` is 0 for a Unix socket."""

    server: grpc.aio.Server
    health: health_aio.HealthServicer
    port: int

    async def set_serving(self, service: str, serving: bool) -> None:
        """Tells the standard health service about `service` ("": the whole server)."""
        status = health_pb2.HealthCheckResponse
        await self.health.set(service, status.SERVING if serving else status.NOT_SERVING)


@asynccontextmanager
async def grpc_server(
    listen: str,
    *,
    services: Sequence[str],
    register: Callable[[grpc.aio.Server], None],
    metrics: RpcServerMetrics,
    grace_seconds: float,
) -> AsyncIterator[RunningServer]:
    """Serves on `listen` ("127.0.0.1:0", "unix:/run/embedder.sock") while entered.

    `register` adds the servicers; `services` are their full names, for reflection. On exit the health service says
    NOT_SERVING, new calls are refused and those under way have `grace_seconds`. Raises OSError for a taken address.
    """
    server = grpc.aio.server(interceptors=(ServiceInterceptor(metrics),), options=SERVER_OPTIONS)
    register(server)
    servicer = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*services, HEALTH_SERVICE, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen}") from error
    await server.start()
    running = RunningServer(server, servicer, port if not listen.startswith("unix:") else 0)
    try:
        yield running
    finally:
        await servicer.enter_graceful_shutdown()
        await server.stop(grace_seconds)
