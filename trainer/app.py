"""The trainer put together: what it is made of, in which order that starts, and in reverse how it stops."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.adapters import Adapters
from catalog.collections import Collections
from catalog.contents import Contents
from catalog.image_versions import ImageVersions
from catalog.images import Images
from catalog.indexes import Indexes
from catalog.jobs import Jobs
from catalog.postgres.database import Database, with_ca_file
from catalog.postgres.migrate import wait_for_schema
from catalog.postgres.notifications import JobListener
from catalog.statistics import Statistics
from catalog.vectors.base_store import BaseStores
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from catalog.vectors.names import VectorCollections
from servicekit.grpc.channel import open_channel
from servicekit.grpc.server import RunningServer, ServerPlan, grpc_server
from servicekit.process.background import in_background
from servicekit.process.service import StartupError
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import metrics_endpoint, new_registry, show_free_disk
from servicekit.telemetry.upstreams import watched_upstreams
from trainer.adapter.calibration import Calibration
from trainer.adapter.fit import LearnedAdapter
from trainer.adapter.numerics import numerics_executor
from trainer.cleanup.janitor import Janitor
from trainer.cleanup.sweeps import Leftovers, LeftoverStores
from trainer.config import TrainerSettings
from trainer.download.client import DownloadLimits, Downloads
from trainer.embed.client import IDEMPOTENT, EmbedderClient
from trainer.fetch.pipeline import Fetching, FetchLimits
from trainer.index.build import Indexing
from trainer.jobs.finetune import Finetune, FinetuneSteps, FinetuneStores
from trainer.jobs.retry import Patience
from trainer.jobs.worker import Worker
from trainer.metrics import TrainerMetrics
from trainer.servicer import SERVICE, TrainerServicer

log = get_logger(__name__)


@dataclass(frozen=True)
class RunningTrainer:
    """A trainer that works. port: of its gRPC server, 0 for a Unix socket; metrics_port: None where there is none."""

    port: int
    metrics_port: int | None


@dataclass(frozen=True)
class _Parts:
    """What the trainer talks to, and the catalog on top of it."""

    database: Database
    jobs: Jobs
    images: Images
    indexes: Indexes
    adapters: Adapters
    generations: Generations
    base_stores: BaseStores
    vectors: VectorCollections
    embedder: EmbedderClient
    downloads: Downloads
    numerics: Executor
    metrics: TrainerMetrics


@asynccontextmanager
async def trainer(settings: TrainerSettings) -> AsyncIterator[RunningTrainer]:
    """Works while entered; on exit jobs that run are given back to the queue. Raises StartupError."""
    async with AsyncExitStack() as stack:
        parts = await _connect(stack, settings)
        workers = [_worker(number, parts, settings) for number in range(settings.concurrent_jobs)]
        nudged: list[Worker | Janitor] = [*workers, _janitor(parts, settings)]

        def nudge() -> None:
            for part in nudged:
                part.nudge()

        working = [*nudged, JobListener(parts.database, nudge)]
        servicer = TrainerServicer(parts.jobs, nudge)
        server = await _listen(stack, settings, servicer, parts.metrics)
        stack.callback(servicer.stop)
        endpoint = metrics_endpoint(parts.metrics.registry, settings.metrics_host, settings.metrics_port)
        metrics_port = await stack.enter_async_context(endpoint)
        await _watch(stack, parts)
        await stack.enter_async_context(_working(parts.database, working, server))
        log.info("trainer_listening", listen=settings.listen, port=server.port, health_port=server.health_port)
        yield RunningTrainer(server.port, metrics_port)


async def _connect(stack: AsyncExitStack, settings: TrainerSettings) -> _Parts:
    url = with_ca_file(settings.database_url.get_secret_value(), settings.database_ca_file)
    database = await stack.enter_async_context(Database.open(url, max_connections=settings.database_connections))
    qdrant = await stack.enter_async_context(open_qdrant(QdrantAddress.from_settings(settings)))
    channel = await stack.enter_async_context(
        open_channel(settings.embedder_address, idempotent=IDEMPOTENT, tls=settings.tls)
    )
    limits = DownloadLimits(
        max_bytes=settings.max_image_bytes,
        concurrency=settings.download_concurrency,
        attempts=settings.download_attempts,
        max_redirects=settings.max_redirects,
        total_seconds=settings.download_seconds,
        connect_seconds=settings.download_connect_seconds,
        read_seconds=settings.download_read_seconds,
    )
    private = settings.allow_private_addresses
    metrics = TrainerMetrics(new_registry("trainer"))
    # Where what is learnt from is written.
    show_free_disk(metrics.registry, {"temporary": Path(tempfile.gettempdir())})
    return _Parts(
        database=database,
        jobs=Jobs(database, lease_seconds=settings.lease_seconds),
        images=Images(database),
        indexes=Indexes(database, settings.vector_prefix),
        adapters=Adapters(database),
        generations=Generations(qdrant),
        base_stores=BaseStores(qdrant, settings.vector_prefix),
        vectors=VectorCollections(qdrant, settings.vector_prefix),
        embedder=EmbedderClient(channel, metrics.rpc_client),
        downloads=await stack.enter_async_context(Downloads.open(limits, allow_private_addresses=private)),
        numerics=stack.enter_context(numerics_executor()),
        metrics=metrics,
    )


def _worker(number: int, parts: _Parts, settings: TrainerSettings) -> Worker:
    patience = Patience(settings.patience_seconds)
    limits = FetchLimits(settings.download_concurrency, settings.downloads_per_host)
    steps = FinetuneSteps(
        fetching=Fetching(parts.images, parts.downloads, limits, patience, parts.metrics),
        fit=LearnedAdapter(
            parts.numerics, threads=settings.learning_threads or max(1, len(os.sched_getaffinity(0)) // 2)
        ),
        calibration=Calibration(parts.numerics),
        indexing=Indexing(parts.generations, patience, parts.numerics),
    )
    finetune = Finetune(
        FinetuneStores(
            parts.jobs, parts.images, parts.indexes, ImageVersions(parts.database), parts.adapters, parts.base_stores
        ),
        steps,
        parts.embedder,
        patience,
        parts.metrics,
        max_transient_failures=settings.max_transient_failures,
    )
    return Worker(
        f"{socket.gethostname()}-{os.getpid()}-{number}",
        parts.jobs,
        finetune,
        parts.metrics,
        poll=settings.poll_seconds,
        lease=settings.lease_seconds,
    )


def _janitor(parts: _Parts, settings: TrainerSettings) -> Janitor:
    stores = LeftoverStores(
        collections=Collections(parts.database),
        contents=Contents(parts.database),
        images=parts.images,
        indexes=parts.indexes,
        adapters=parts.adapters,
        generations=parts.generations,
        base_stores=parts.base_stores,
        vectors=parts.vectors,
    )
    leftovers = Leftovers(
        stores,
        parts.metrics,
        index_grace=settings.index_grace_seconds,
        content_grace=settings.content_grace_seconds,
    )
    return Janitor(parts.database, leftovers.tasks(), seconds=settings.janitor_seconds)


async def _listen(
    stack: AsyncExitStack, settings: TrainerSettings, servicer: TrainerServicer, metrics: TrainerMetrics
) -> RunningServer:
    try:
        server = await stack.enter_async_context(
            grpc_server(
                ServerPlan.of(settings, settings.listen),
                services=(SERVICE,),
                register=servicer.register,
                metrics=metrics.rpc,
            )
        )
    except OSError as error:
        raise StartupError(str(error)) from error
    await server.set_serving("", False)
    return server


async def _watch(stack: AsyncExitStack, parts: _Parts) -> None:
    upstreams = {
        "postgres": parts.database.ping,
        "qdrant": parts.generations.ping,
        "embedder": parts.embedder.describe,
    }
    await stack.enter_async_context(watched_upstreams(upstreams, parts.metrics.upstreams))
    await stack.enter_async_context(parts.metrics.catalog.refreshing(Statistics(parts.database)))


@asynccontextmanager
async def _working(
    database: Database, parts: Sequence[Worker | Janitor | JobListener], server: RunningServer
) -> AsyncIterator[None]:
    """Work goes on while entered, from when the database has the schema that we write."""

    async def work() -> None:
        await wait_for_schema(database)
        async with AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(part.running())
            await server.set_serving("", True)
            await server.set_serving(SERVICE, True)
            await asyncio.Event().wait()

    async with in_background(work(), "work"):
        yield
