"""Wire the embedder: settings in, a running service out."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace

from prometheus_client import CollectorRegistry

from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError, BackboneSource, WrongBackbone
from embedder.config import EmbedderSettings, worker_environment
from embedder.engines.model_cache import converted_model
from embedder.hardware import HardwareError, HardwarePlan, has_cuda, plan_hardware
from embedder.metrics import EmbedderMetrics
from embedder.readiness import EmbedderReadiness
from embedder.scheduling.batching import BatchedInference
from embedder.scheduling.dispatcher import Dispatcher
from embedder.scheduling.inference import FusedInference, Inference
from embedder.scheduling.queue import ImageQueue
from embedder.scheduling.text_queue import TextQueue
from embedder.service import EmbeddingService, RequestLimits, ServedBackbone
from embedder.servicer import SERVICE, EmbedderServicer
from embedder.workers.arena import arena_bytes, open_arena
from embedder.workers.messages import WorkerOrders
from embedder.workers.pool import PoolLimits, WorkerPool
from embedder.workers.process import WorkerGone, WorkerUnfit
from servicekit.grpc.server import RunningServer, ServerPlan, grpc_server
from servicekit.process.background import in_background
from servicekit.process.service import StartupError
from servicekit.settings import SettingsError
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import RpcServerMetrics, metrics_endpoint, new_registry, show_free_disk

log = get_logger(__name__)

START_SECONDS = 60.0
# To load torch and to capture a graph for every batch size.
ENGINE_START_SECONDS = 300.0
# The memory for decoding includes copies of an encoded image of the usual size. Larger ones need more.
USUAL_IMAGE_BYTES = 20 << 20
ENCODED_COPIES = 4
# More threads wait for each other in loops: on busy processors, a text takes several times the CPU time.
TEXT_THREADS = 1


@dataclass(frozen=True)
class RunningEmbedder:
    """An embedder that answers: over gRPC, and by calls of its service in the same process."""

    server: RunningServer
    service: EmbeddingService


@asynccontextmanager
async def embedder(settings: EmbedderSettings) -> AsyncIterator[RunningServer]:
    """Run the service alone in this process while entered. Raises StartupError or SettingsError."""
    async with embedding(settings, new_registry("embedder")) as running:
        yield running.server


@asynccontextmanager
async def embedding(settings: EmbedderSettings, registry: CollectorRegistry) -> AsyncIterator[RunningEmbedder]:
    """Run the service while entered. registry: gets its metrics. Raises StartupError or SettingsError."""
    metrics = EmbedderMetrics(registry)
    show_free_disk(registry, "models", settings.model_cache, settings.volume_limit)
    async with contextlib.AsyncExitStack() as stack:
        try:
            source = await asyncio.to_thread(resolve_backbone, settings.backbone, settings.backbone_revision)
            plan = plan_hardware(settings, cuda=await has_cuda(settings.device, worker_environment()))
            workers = await stack.enter_async_context(_workers(settings, source, plan, metrics))
            texts = await stack.enter_async_context(_texts(settings, source, plan, metrics))
        except WrongBackbone as error:
            raise SettingsError(f"SIMILIS_BACKBONE: {error}") from error
        except (BackboneError, HardwareError, WorkerUnfit, WorkerGone, OSError) as error:
            raise StartupError(str(error)) from error
        queues = _queues(settings, metrics)
        dispatcher = Dispatcher(workers.decoding, workers.inference, *queues, metrics, cores=plan.cores)
        readiness = EmbedderReadiness(dispatcher, workers.are_usable, settings.canary_seconds, metrics)
        served = _served(source, workers.inferring)
        limits = _request_limits(settings)
        service = EmbeddingService(served, dispatcher, limits, lambda: readiness.serving, metrics, texts)
        running = await stack.enter_async_context(_serving(settings, plan, service, registry))
        await stack.enter_async_context(in_background(readiness.watch(running.health.set_serving), "readiness"))
        yield RunningEmbedder(running, service)


@dataclass(frozen=True)
class Workers:
    """The pools that decode and that infer, which may be the same one, and the inference that connects them."""

    decoding: WorkerPool
    inferring: WorkerPool
    inference: Inference

    def are_usable(self) -> bool:
        """Return whether both pools have a worker."""
        return bool(self.decoding.usable and self.inferring.usable)


@asynccontextmanager
async def _workers(
    settings: EmbedderSettings, source: BackboneSource, plan: HardwarePlan, metrics: EmbedderMetrics
) -> AsyncIterator[Workers]:
    orders = await _orders(settings, source, plan)
    environment = worker_environment()
    limits = _pool_limits(settings, plan)
    async with contextlib.AsyncExitStack() as stack:
        if not plan.staged:
            limits = replace(limits, reserved=plan.interactive)
            pool = await stack.enter_async_context(WorkerPool(orders, environment, limits, metrics))
            yield Workers(pool, pool, FusedInference(metrics))
            return
        arena = open_arena(arena_bytes(plan.slots, source.preprocessing))
        stack.callback(os.close, arena)
        # The engine is replaced only when it exits: its memory does not grow, and a new one takes long to start.
        one = replace(
            limits, workers=1, images=sys.maxsize, memory_bytes=sys.maxsize, start_seconds=ENGINE_START_SECONDS
        )
        engine = WorkerPool(replace(orders, role="engine"), environment, one, metrics, arena)
        decoders = WorkerPool(replace(orders, role="decoder"), environment, limits, metrics, arena)
        await stack.enter_async_context(engine)
        await stack.enter_async_context(decoders)
        max_age = settings.batch_age_ms / 1000
        inference = BatchedInference(engine, plan.slots, plan.max_batch, max_age, source.dimension, metrics)
        yield Workers(decoders, engine, inference)


@asynccontextmanager
async def _texts(
    settings: EmbedderSettings, source: BackboneSource, plan: HardwarePlan, metrics: EmbedderMetrics
) -> AsyncIterator[TextQueue | None]:
    """Run the process that embeds texts, if the backbone has a text tower."""
    if not source.text_tokens:
        yield None
        return
    # As with an engine: its memory does not grow, and a new one takes long to start.
    limits = replace(
        _pool_limits(settings, plan),
        workers=1,
        images=sys.maxsize,
        memory_bytes=sys.maxsize,
        start_seconds=ENGINE_START_SECONDS,
    )
    orders = WorkerOrders(
        role="text",
        source=asdict(source),
        model="",
        canary="",
        threads=TEXT_THREADS,
        all_threads=plan.cores,
        max_pixels=0,
        memory_bytes=0,
        engine="torch",
        device="cpu",
        max_batch=1,
    )
    async with WorkerPool(orders, worker_environment(), limits, metrics) as pool:
        yield TextQueue(pool, settings.interactive_queue, metrics)


async def _orders(settings: EmbedderSettings, source: BackboneSource, plan: HardwarePlan) -> WorkerOrders:
    model = canary = ""
    if plan.engine == "openvino":
        converted = await converted_model(source, settings.model_cache, worker_environment())
        model, canary = str(converted.model), str(converted.canary)
    return WorkerOrders(
        role="fused",
        source=asdict(source),
        model=model,
        canary=canary,
        threads=plan.threads,
        all_threads=plan.cores,
        max_pixels=settings.max_image_pixels,
        memory_bytes=settings.decode_memory_bytes
        + ENCODED_COPIES * max(0, settings.max_image_bytes - USUAL_IMAGE_BYTES),
        engine=plan.engine,
        device=plan.device,
        max_batch=plan.max_batch,
        search_seconds=settings.image_cpu_seconds,
        bulk_seconds=settings.bulk_image_cpu_seconds,
    )


def _pool_limits(settings: EmbedderSettings, plan: HardwarePlan) -> PoolLimits:
    return PoolLimits(
        workers=plan.workers,
        start_seconds=START_SECONDS,
        silence_seconds=settings.item_seconds,
        images=settings.worker_images,
        memory_bytes=settings.worker_memory_bytes,
    )


def _queues(settings: EmbedderSettings, metrics: EmbedderMetrics) -> tuple[ImageQueue, ImageQueue]:
    return (
        ImageQueue("interactive", settings.interactive_queue, settings.interactive_queue_bytes, metrics),
        ImageQueue("bulk", settings.bulk_queue, settings.bulk_queue_bytes, metrics),
    )


def _served(source: BackboneSource, pool: WorkerPool) -> ServedBackbone:
    ready = pool.first.ready
    return ServedBackbone(source.name, source.checksum, source.dimension, ready.device, ready.engine, source.pooling)


def _request_limits(settings: EmbedderSettings) -> RequestLimits:
    return RequestLimits(settings.max_image_bytes, settings.max_views, settings.request_seconds, settings.bulk_seconds)


@asynccontextmanager
async def _serving(
    settings: EmbedderSettings, plan: HardwarePlan, service: EmbeddingService, registry: CollectorRegistry
) -> AsyncIterator[RunningServer]:
    servicer = EmbedderServicer(service, settings.stream_in_flight or plan.stream_in_flight)
    async with contextlib.AsyncExitStack() as stack:
        try:
            if settings.metrics_port is not None:
                endpoint = metrics_endpoint(registry, settings.metrics_host, settings.metrics_port)
                port = await stack.enter_async_context(endpoint)
                log.info("metrics_served", host=settings.metrics_host, port=port)
            server = grpc_server(
                ServerPlan.of(settings, settings.listen, max_image_bytes=settings.max_image_bytes),
                services=[SERVICE],
                register=servicer.register,
                metrics=RpcServerMetrics(registry),
                stopping=servicer.stop,
            )
            running = await stack.enter_async_context(server)
        except OSError as error:
            raise StartupError(f"cannot listen: {error}") from error
        ports = {"port": running.port, "health_port": running.health_port}
        log.info("embedder_listening", listen=settings.listen, **ports, **asdict(service.served))
        yield running
