"""Metrics that every service has, and the endpoint that shows them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from similis.servicekit.version import VERSION

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


def render(registry: CollectorRegistry) -> web.Response:
    """The registry in Prometheus' text format."""
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


@asynccontextmanager
async def metrics_endpoint(registry: CollectorRegistry, host: str, port: int) -> AsyncIterator[int]:
    """Serves `/metrics` over HTTP while entered, for services that speak only gRPC; yields the port."""

    async def show(_: web.Request) -> web.Response:
        return render(registry)

    application = web.Application()
    application.router.add_get("/metrics", show)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=75)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
