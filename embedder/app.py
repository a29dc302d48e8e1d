"""Wires the embedder: settings in, a running service out."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace

from prometheus_client import CollectorRegistry

from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError, BackboneSource
from embedder.config import EmbedderSettings, worker_environment
from embedder.engines.model_cache import converted_model
from embedder.hardware import HardwareError, HardwarePlan, has_cuda, plan_hardware
from embedder.metrics import EmbedderMetrics
from embedder.readiness import Readiness, Tell
from embedder.scheduling.batching import Batching
from embedder.scheduling.dispatcher import Dispatcher
from embedder.scheduling.queue import Lane
from embedder.scheduling.stage import Forwarding, InPlace
from embedder.service import Embedding, RequestLimits, Served
from embedder.servicer import SERVICE, EmbedderServicer
from embedder.workers.arena import arena_bytes, open_arena
from embedder.workers.pool import PoolLimits, WorkerPool
from embedder.workers.process import WorkerGone, WorkerUnfit
from embedder.workers.wire import WorkerOrders
from servicekit.grpc.server import RunningServer, ServerPlan, grpc_server
from servicekit.process.service import StartupError
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import RpcServerMetrics, metrics_endpoint, new_registry, show_free_disk

log = get_logger(__name__)

START_SECONDS = 60.0
# Loading torch, and capturing graphs of every batch size.
ENGINE_SECONDS = 300.0


@asynccontextmanager
async def embedder(settings: EmbedderSettings) -> AsyncIterator[RunningServer]:
    """The service, serving while entered. Raises StartupError with one line when it cannot."""
    registry = new_registry("embedder")
    metrics = EmbedderMetrics(registry)
    show_free_disk(registry, {"models": settings.model_cache})
    async with contextlib.AsyncExitStack() as stack:
        try:
            source = await asyncio.to_thread(resolve_backbone, settings.backbone, settings.backbone_revision)
            hardware = plan_hardware(settings, cuda=await has_cuda(settings.device, worker_environment()))
            workers = await stack.enter_async_context(_workers(settings, source, hardware, metrics))
        except (BackboneError, HardwareError, WorkerUnfit, WorkerGone, OSError) as error:
            raise StartupError(str(error)) from error
        dispatcher = Dispatcher(
            workers.decoding, workers.forwarding, *_lanes(settings, metrics), source.dimension, metrics
        )
        readiness = Readiness(dispatcher, workers.usable, settings.canary_seconds, metrics)
        served = _served(source, workers.inferring)
        embedding = Embedding(served, dispatcher, _request_limits(settings), lambda: readiness.serving, metrics)
        running = await stack.enter_async_context(_serving(settings, hardware, embedding, registry))
        stack.push_async_callback(_cancelled, asyncio.create_task(readiness.watch(_tell(running))))
        yield running


@dataclass(frozen=True)
class Workers:
    """The pools that decode and that infer, which may be one and the same, and what lies between."""

    decoding: WorkerPool
    inferring: WorkerPool
    forwarding: Forwarding

    def usable(self) -> bool:
        """Whether each step has a worker."""
        return bool(self.decoding.usable and self.inferring.usable)


@asynccontextmanager
async def _workers(
    settings: EmbedderSettings, source: BackboneSource, hardware: HardwarePlan, metrics: EmbedderMetrics
) -> AsyncIterator[Workers]:
    orders = await _orders(settings, source, hardware)
    environment = worker_environment()
    limits = _pool_limits(settings, hardware)
    async with contextlib.AsyncExitStack() as stack:
        if not hardware.staged:
            limits = replace(limits, reserved=settings.interactive_workers)
            pool = await stack.enter_async_context(WorkerPool(orders, environment, limits, metrics))
            yield Workers(pool, pool, InPlace(metrics))
            return
        arena = open_arena(arena_bytes(hardware.slots, source.preprocessing))
        stack.callback(os.close, arena)
        # The engine keeps its memory for as long as it lives: only its death replaces it.
        one = replace(limits, workers=1, images=sys.maxsize, memory_bytes=sys.maxsize, start_seconds=ENGINE_SECONDS)
        engine = WorkerPool(replace(orders, role="engine"), environment, one, metrics, arena)
        decoders = WorkerPool(replace(orders, role="decoder"), environment, limits, metrics, arena)
        await stack.enter_async_context(engine)
        await stack.enter_async_context(decoders)
        age = settings.batch_age_ms / 1000
        batching = Batching(engine, hardware.slots, hardware.max_batch, age, source.dimension, metrics)
        yield Workers(decoders, engine, batching)


async def _orders(settings: EmbedderSettings, source: BackboneSource, hardware: HardwarePlan) -> WorkerOrders:
    model = canary = ""
    if hardware.engine == "openvino":
        converted = await converted_model(source, settings.model_cache, worker_environment())
        model, canary = str(converted.model), str(converted.canary)
    return WorkerOrders(
        role="fused",
        source=asdict(source),
        model=model,
        canary=canary,
        threads=hardware.threads,
        wide_threads=hardware.cores,
        max_pixels=settings.max_image_pixels,
        memory_bytes=settings.decode_memory_bytes,
        engine=hardware.engine,
        device=hardware.device,
        max_batch=hardware.max_batch,
    )


def _pool_limits(settings: EmbedderSettings, hardware: HardwarePlan) -> PoolLimits:
    return PoolLimits(
        workers=hardware.workers,
        start_seconds=START_SECONDS,
        silence_seconds=settings.item_seconds,
        images=settings.worker_images,
        memory_bytes=settings.worker_memory_bytes,
    )


def _lanes(settings: EmbedderSettings, metrics: EmbedderMetrics) -> tuple[Lane, Lane]:
    return (
        Lane("interactive", settings.interactive_queue, settings.interactive_queue_bytes, metrics),
        Lane("bulk", settings.bulk_queue, settings.bulk_queue_bytes, metrics),
    )


def _served(source: BackboneSource, pool: WorkerPool) -> Served:
    ready = pool.first.ready
    return Served(source.name, source.checksum, source.dimension, ready.device, ready.engine, source.pooling)


def _request_limits(settings: EmbedderSettings) -> RequestLimits:
    return RequestLimits(settings.max_image_bytes, settings.max_views, settings.request_seconds, settings.bulk_seconds)


@asynccontextmanager
async def _serving(
    settings: EmbedderSettings, hardware: HardwarePlan, embedding: Embedding, registry: CollectorRegistry
) -> AsyncIterator[RunningServer]:
    servicer = EmbedderServicer(embedding, settings.stream_in_flight or hardware.stream_in_flight)
    async with contextlib.AsyncExitStack() as stack:
        try:
            if settings.metrics_port is not None:
                endpoint = metrics_endpoint(registry, settings.metrics_host, settings.metrics_port)
                port = await stack.enter_async_context(endpoint)
                log.info("metrics_served", host=settings.metrics_host, port=port)
            server = grpc_server(
                ServerPlan.of(settings, settings.listen),
                services=[SERVICE],
                register=servicer.register,
                metrics=RpcServerMetrics(registry),
            )
            running = await stack.enter_async_context(server)
            stack.callback(servicer.stop)
        except OSError as error:
            raise StartupError(f"cannot listen: {error}") from error
        ports = {"port": running.port, "health_port": running.health_port}
        log.info("embedder_listening", listen=settings.listen, **ports, **asdict(embedding.served))
        yield running


def _tell(running: RunningServer) -> Tell:
    async def tell(serving: bool) -> None:
        for service in ("", SERVICE):
            await running.set_serving(service, serving)

    return tell


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
