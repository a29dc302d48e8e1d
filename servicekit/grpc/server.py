"""A gRPC server as all our services run it: health, reflection, errors, request ids, latency, drain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]
from grpc_reflection.v1alpha import reflection

from servicekit.grpc.interceptor import ServiceInterceptor
from servicekit.grpc.tls import CertificateFiles, server_credentials
from servicekit.settings import RpcServerSettings
from servicekit.telemetry.metrics import RpcServerMetrics

# An encoded image of 20 MiB and what surrounds it.
MAX_MESSAGE_BYTES = 24 * 1024 * 1024
# The service that health checks name who only ask whether the process answers: it serves from the start, and while what
# the process needs is away.
LIVENESS = "liveness"
# Checks at once on the plain port; those of the kubelet come one at a time.
MAX_HEALTH_CHECKS = 32
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # Clients look for new replicas when a connection ends, so connections end; gRPC varies the age by a tenth, so that
    # not all of them do at once. The grace is more than the age of the longest of our streams.
    ("grpc.max_connection_age_ms", 5 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 6 * 60 * 1000),
    ("grpc.keepalive_time_ms", 60 * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10 * 1000),
)


@dataclass(frozen=True)
class ServerPlan:
    """How a server is run.

    listen: "127.0.0.1:0", "unix:/run/embedder.sock". health_port: of a second, plain port for health checks only, on
    the same host. drain_seconds: how long new calls are still taken after health has said NOT_SERVING, until clients
    have seen that. grace_seconds: what calls under way then have.
    """

    listen: str
    grace_seconds: float
    drain_seconds: float = 0.0
    tls: CertificateFiles | None = None
    health_port: int | None = None

    @classmethod
    def of(cls, settings: RpcServerSettings, listen: str) -> "ServerPlan":
        """As the settings say. Raises StartupError when the TLS files cannot be used."""
        return cls(
            listen=listen,
            grace_seconds=settings.shutdown_grace_seconds,
            drain_seconds=settings.drain_seconds,
            tls=None if settings.tls is None else CertificateFiles(settings.tls),
            health_port=settings.health_port,
        )

    @property
    def health_listen(self) -> str:
        """Where the plain port is."""
        host = "127.0.0.1" if self.listen.startswith("unix:") else self.listen.rpartition(":")[0]
        return f"{host}:{self.health_port}"


@dataclass(frozen=True)
class RunningServer:
    """A server that accepts calls. `health` is told what its parts can do; `port` is 0 for a Unix socket.

    health_port: None where there is no second port.
    """

    server: grpc.aio.Server
    health: health_aio.HealthServicer
    port: int
    health_port: int | None = None

    async def set_serving(self, service: str, serving: bool) -> None:
        """Tells the standard health service about `service` ("": the whole server)."""
        status = health_pb2.HealthCheckResponse
        await self.health.set(service, status.SERVING if serving else status.NOT_SERVING)


@asynccontextmanager
async def grpc_server(
    plan: ServerPlan,
    *,
    services: Sequence[str],
    register: Callable[[grpc.aio.Server], None],
    metrics: RpcServerMetrics,
) -> AsyncIterator[RunningServer]:
    """Serves while entered.

    `register` adds the servicers; `services` are their full names, for reflection. On exit the health service says
    NOT_SERVING, and after the plan's drain new calls are refused and those under way have the grace period. Raises
    OSError for a taken address.
    """
    server = grpc.aio.server(interceptors=(ServiceInterceptor(metrics),), options=SERVER_OPTIONS)
    register(server)
    servicer = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*services, HEALTH_SERVICE, reflection.SERVICE_NAME), server)
    port = _bind(server, plan.listen, plan.tls)
    async with AsyncExitStack() as stack:
        # Entered first: it answers until everything else has ended.
        health_port = await stack.enter_async_context(_health_port(plan, servicer))
        await server.start()
        running = RunningServer(server, servicer, port if not plan.listen.startswith("unix:") else 0, health_port)
        try:
            yield running
        finally:
            await servicer.enter_graceful_shutdown()
            await asyncio.sleep(plan.drain_seconds)
            await server.stop(plan.grace_seconds)


@asynccontextmanager
async def _health_port(plan: ServerPlan, servicer: health_aio.HealthServicer) -> AsyncIterator[int | None]:
    if plan.health_port is None:
        yield None
        return
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),), maximum_concurrent_rpcs=MAX_HEALTH_CHECKS)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = _bind(server, plan.health_listen, None)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def _bind(server: grpc.aio.Server, listen: str, tls: CertificateFiles | None) -> int:
    try:
        if tls is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, server_credentials(tls))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen}") from error
