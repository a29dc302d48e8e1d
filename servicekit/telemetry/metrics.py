"""Metrics that every service has, and the endpoint that serves them."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from servicekit.process.service import StartupError
from servicekit.version import VERSION

# The unit of `st_blocks`, whatever the file system.
BLOCK_BYTES = 512
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def new_registry(service: str, *, of_process: bool = True) -> CollectorRegistry:
    """Return a registry with the metrics of the process, the Python version and the build.

    of_process: False for a service in the process of another one, whose registry has those of process and Python.
    """
    registry = CollectorRegistry()
    if of_process:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
    build = Gauge(
        "similis_build_info",
        "Always 1. The label version is the running version.",
        ["service", "version"],
        registry=registry,
    )
    build.labels(service, VERSION).set(1)
    return registry


class RpcServerMetrics:
    """Latency of incoming RPCs, by method and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "rpc_server_duration_seconds",
            "Duration of incoming RPCs. For a streaming RPC, of the whole stream.",
            ["rpc_service", "rpc_method", "rpc_grpc_status_code"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )


class RpcClientMetrics:
    """Latency of outgoing RPCs, by method and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "rpc_client_duration_seconds",
            "Duration of outgoing RPCs, including retries. For a streaming RPC, of the whole stream.",
            ["rpc_service", "rpc_method", "rpc_grpc_status_code"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )


class UpstreamMetrics:
    """The result of the last check of each upstream."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "similis_upstream_up",
            "1 if the upstream service answered the last check, otherwise 0.",
            ["upstream"],
            registry=registry,
        )


def show_free_disk(registry: CollectorRegistry, volume: str, folder: Path, limit: int | None = None) -> None:
    """Add a gauge of the free bytes of a volume, measured at every scrape.

    folder: on the volume. limit: the most bytes that the volume may hold; None if it may fill its disk.
    """
    gauge = Gauge("similis_disk_free_bytes", "Free bytes on a volume.", ["volume"], registry=registry)
    measure = partial(free_bytes, folder) if limit is None else partial(free_bytes_within, folder, limit)
    gauge.labels(volume).set_function(measure)


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder. If it does not exist, its nearest existing parent counts."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def free_bytes_within(folder: Path, limit: int) -> int:
    """Return how many more bytes the volume of a folder may hold, if it may hold `limit` bytes in all."""
    return min(free_bytes(folder), max(limit - _used_bytes(_volume_of(folder)), 0))


def _volume_of(folder: Path) -> Path:
    """Return where the volume of a folder is mounted; the folder itself if that is the root file system."""
    mounts = (path for path in (folder, *folder.parents) if path.is_mount())
    found = next(mounts, folder)
    return folder if found == found.parent else found


def _used_bytes(folder: Path) -> int:
    """Return the space that the files in a folder take on the disk."""
    used = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                used += (Path(path) / name).lstat().st_blocks * BLOCK_BYTES
    return used


def render(registry: CollectorRegistry) -> web.Response:
    """Return a response with the registry in Prometheus' text format."""
    return _response(generate_latest(registry))


@asynccontextmanager
async def metrics_endpoint(registry: CollectorRegistry, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Serve a registry like `exposition_endpoint`. Without a port, serve nothing and yield None."""
    if port is None:
        yield None
        return

    async def exposition() -> bytes:
        return generate_latest(registry)

    async with exposition_endpoint(exposition, host, port) as found:
        yield found


@asynccontextmanager
async def exposition_endpoint(exposition: Callable[[], Awaitable[bytes]], host: str, port: int) -> AsyncIterator[int]:
    """Serve `/metrics` over HTTP in Prometheus' text format while the block runs. Yields the port.

    host: a host, or "unix:/run/metrics.sock" for a Unix socket, whose port is 0.
    Raises StartupError if the address is in use.
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
