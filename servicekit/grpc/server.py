"""The gRPC server of all our services, with health, reflection, our interceptor, mutual TLS and drain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]  # the stubs lack it
from grpc_reflection.v1alpha import reflection

from servicekit.grpc.interceptor import ServiceInterceptor
from servicekit.grpc.tls import CertificateFiles, server_credentials
from servicekit.settings import RpcServerSettings
from servicekit.telemetry.metrics import RpcServerMetrics

# Messages without an image, and those with one of up to 20 MiB, are smaller.
MAX_MESSAGE_BYTES = 24 * 1024 * 1024
# The fields of a message beside an image.
OTHER_FIELDS_BYTES = 4 * 1024 * 1024
# Health checks that name this service ask about the process alone: it is SERVING even while an upstream is down.
LIVENESS = "liveness"
# Concurrent checks on the plain port. The kubelet sends one at a time.
MAX_HEALTH_CHECKS = 32
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # Clients look for new replicas only when a connection ends, so connections have a maximum age. gRPC varies it by 10
    # percent, so that they do not all end at once. The grace is longer than our longest stream.
    ("grpc.max_connection_age_ms", 5 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 6 * 60 * 1000),
    ("grpc.keepalive_time_ms", 60 * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10 * 1000),
    # A client that was stalled sends several pings at once. Its calls must not end because of that ("Too many pings").
    ("grpc.http2.max_ping_strikes", 0),
)


@dataclass(frozen=True)
class ServerPlan:
    """Where a server listens and how it stops.

    listen: an address such as "127.0.0.1:0" or "unix:/run/embedder.sock".
    grace_seconds: how long calls in progress may take to finish after the drain.
    drain_seconds: how long the server accepts new calls after it reports that it is not ready.
    tls: the certificates for mutual TLS; None for plain text.
    health_port: a second port on the same host for health checks only, without TLS; None for no such port.
    max_message_bytes: the largest message that the server receives.
    """

    listen: str
    grace_seconds: float
    drain_seconds: float = 0.0
    tls: CertificateFiles | None = None
    health_port: int | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES

    @classmethod
    def of(cls, settings: RpcServerSettings, listen: str, *, max_image_bytes: int = 0) -> "ServerPlan":
        """Return the plan that the settings describe. Raises StartupError when the TLS files cannot be used.

        max_image_bytes: the largest image in a message.
        """
        return cls(
            listen=listen,
            grace_seconds=settings.shutdown_grace_seconds,
            drain_seconds=settings.drain_seconds,
            tls=None if settings.tls is None else CertificateFiles(settings.tls),
            health_port=settings.health_port,
            max_message_bytes=max(MAX_MESSAGE_BYTES, max_image_bytes + OTHER_FIELDS_BYTES),
        )

    @property
    def health_listen(self) -> str:
        """The address of the health port. A server on a Unix socket has it on 127.0.0.1."""
        host = "127.0.0.1" if self.listen.startswith("unix:") else self.listen.rpartition(":")[0]
        return f"{host}:{self.health_port}"


class ReportedHealth:
    """What health checks are told.

    The name "" is for load balancers and the kubelet: it reports NOT_SERVING from the beginning of the drain. The names
    of our services are for our own clients, which may know no other server yet. They keep using a server that drains,
    and look for others when it closes their connections. The name `liveness` is for the process alone.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self.servicer = health_aio.HealthServicer()
        self._services = services
        self._serving = True
        self._draining = False

    async def set_serving(self, serving: bool) -> None:
        """Report whether calls can be answered."""
        self._serving = serving
        await self.report()

    async def drain(self) -> None:
        """Report that the server will stop soon."""
        self._draining = True
        await self.report()

    async def report(self) -> None:
        """Report the state to the clients that watch it."""
        states = dict.fromkeys(self._services, self._serving)
        states |= {"": self._serving and not self._draining, LIVENESS: True}
        status = health_pb2.HealthCheckResponse
        for name, serving in states.items():
            await self.servicer.set(name, status.SERVING if serving else status.NOT_SERVING)


@dataclass(frozen=True)
class RunningServer:
    """A server that accepts calls.

    port: 0 for a Unix socket. health_port: None if there is no second port.
    """

    server: grpc.aio.Server
    health: ReportedHealth
    port: int
    health_port: int | None = None


@asynccontextmanager
async def grpc_server(
    plan: ServerPlan,
    *,
    services: Sequence[str],
    register: Callable[[grpc.aio.Server], None],
    metrics: RpcServerMetrics,
    stopping: Callable[[], None] = lambda: None,
) -> AsyncIterator[RunningServer]:
    """Serve while the block runs.

    services: the full names of our services, for health checks and reflection. register: adds their servicers to the
    server. stopping: called after the drain, before new calls are refused.
    At the end the server drains. Then it refuses new calls, and calls in progress get the grace period. Raises OSError
    if the address is in use.
    """
    options = (*SERVER_OPTIONS, ("grpc.max_receive_message_length", plan.max_message_bytes))
    server = grpc.aio.server(interceptors=(ServiceInterceptor(metrics),), options=options)
    register(server)
    health = ReportedHealth(services)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    await health.report()
    reflection.enable_server_reflection((*services, HEALTH_SERVICE, reflection.SERVICE_NAME), server)
    port = _bind(server, plan.listen, plan.tls)
    async with AsyncExitStack() as stack:
        # Entered first, so that it answers until the server has stopped.
        health_port = await stack.enter_async_context(_health_port(plan, health.servicer))
        await server.start()
        running = RunningServer(server, health, port if not plan.listen.startswith("unix:") else 0, health_port)
        try:
            yield running
        finally:
            await health.drain()
            await asyncio.sleep(plan.drain_seconds)
            stopping()
            # Closes the connections to clients, which look for other servers when their calls have ended.
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
