"""Metrics that every service has, and the endpoint that shows them."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from servicekit.process.service import StartupError
from servicekit.version import VERSION

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def new_registry(service: str) -> CollectorRegistry:
    """A registry with what describes the process and the build."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    build = Gauge("similis_build_info", "Version that runs; always 1.", ["service", "version"], registry=registry)
    build.labels(service, VERSION).set(1)
    return registry


class RpcServerMetrics:
    """Latency of the RPCs that this process answers, by method and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "rpc_server_duration_seconds",
            "Time to answer an RPC, the whole stream for a streaming one.",
            ["rpc_service", "rpc_method", "rpc_grpc_status_code"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )


class RpcClientMetrics:
    """Latency of the RPCs that this process makes, by method and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "rpc_client_duration_seconds",
            "Time until an RPC was answered, its retries included, the whole stream for a streaming one.",
            ["rpc_service", "rpc_method", "rpc_grpc_status_code"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )


class UpstreamMetrics:
    """What this process last heard of the parts that it needs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "similis_upstream_up",
            "1 when the part answered the last check, else 0.",
            ["upstream"],
            registry=registry,
        )


def show_free_disk(registry: CollectorRegistry, volumes: Mapping[str, Path]) -> None:
    """Shows the bytes that are free where the folders, by the name of their volume, are; asked at every scrape."""
    gauge = Gauge("similis_disk_free_bytes", "Bytes that are free on a volume.", ["volume"], registry=registry)
    for volume, folder in volumes.items():
        gauge.labels(volume).set_function(partial(free_bytes, folder))


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, or of its nearest parent that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def render(registry: CollectorRegistry) -> web.Response:
    """The registry in Prometheus' text format."""
    return _response(generate_latest(registry))


@asynccontextmanager
async def metrics_endpoint(registry: CollectorRegistry, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Serves a registry as `exposition_endpoint` does; with no port it is not served, and there is none to yield."""
    if port is None:
        yield None
        return

    async def exposition() -> bytes:
        return generate_latest(registry)

    async with exposition_endpoint(exposition, host, port) as found:
        yield found


@asynccontextmanager
async def exposition_endpoint(exposition: Callable[[], Awaitable[bytes]], host: str, port: int) -> AsyncIterator[int]:
    """Serves `/metrics` over HTTP while entered, in Prometheus' text format; yields the port.

    host: "unix:/run/metrics.sock" for a socket, whose port is 0. Raises StartupError for an address that is taken.
    """

    async def show(_: web.Request) -> web.Response:
        return _response(await exposition())

    application = web.Application()
    application.router.add_get("/metrics", show)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=75)
    await runner.setup()
    try:
        socket = host.removeprefix("unix:")
        site: web.BaseSite = web.TCPSite(runner, host, port) if socket == host else web.UnixSite(runner, socket)
        await _started(site, port)
        yield runner.addresses[0][1] if socket == host else 0
    finally:
        await runner.cleanup()


async def _started(site: web.BaseSite, port: int) -> None:
    try:
        await site.start()
    except OSError as error:
        raise StartupError(f"cannot show metrics on port {port}: {error.strerror or error}") from error


def _response(exposition: bytes) -> web.Response:
    return web.Response(body=exposition, headers={"Content-Type": CONTENT_TYPE_LATEST})
