"""The trainer's wiring: which parts it has, and the order in which they start; they stop in reverse."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from catalog.adapters import Adapters
from catalog.collections import Collections
from catalog.contents import Contents
from catalog.duplicates.groups import Duplicates
from catalog.duplicates.miniatures import Miniatures
from catalog.image_versions import ImageVersions
from catalog.images import Images
from catalog.indexed_images import IndexedImages
from catalog.indexes import Indexes
from catalog.jobs import Job, Jobs
from catalog.postgres.database import Database, database_url
from catalog.postgres.migrate import wait_for_schema
from catalog.postgres.notifications import JobListener
from catalog.sources.readings import Reading, Readings
from catalog.sources.records import Records
from catalog.sources.sources import Sources, SourceType
from catalog.statistics import Statistics
from catalog.vectors.base_store import BaseStores
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from catalog.vectors.names import VectorCollections
from servicekit.download.client import Downloader
from servicekit.download.content_kind import DOCUMENTS, IMAGES, Accepted
from servicekit.download.limits import DownloadLimits
from servicekit.grpc.channel import open_channel
from servicekit.grpc.server import RunningServer, ServerPlan, grpc_server
from servicekit.heidicon.client import heidicon_session
from servicekit.process.background import in_background
from servicekit.process.service import StartupError
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import metrics_endpoint, new_registry, show_free_disk
from servicekit.telemetry.upstreams import watched_upstreams
from trainer.adapter.calibration import Calibration
from trainer.adapter.fit import LearnedAdapter
from trainer.adapter.numerics import numerics_executor
from trainer.adapter.pca import PrincipalComponents
from trainer.cleanup.janitor import Janitor
from trainer.cleanup.sweeps import Sweeps, SweptStores
from trainer.config import TrainerSettings, learning_environment
from trainer.duplicates.search import DuplicateSearch
from trainer.embed.client import IDEMPOTENT, BulkEmbedder
from trainer.embed.client import SERVICE as EMBEDDER
from trainer.fetch.pipeline import FetchPipeline
from trainer.fetch.view_pipeline import ViewPipeline
from trainer.index.build import IndexBuilder
from trainer.jobs import finetune
from trainer.jobs.finetune import Finetune, FinetuneSteps, FinetuneStores, Tolerance
from trainer.jobs.places import Places
from trainer.jobs.progress import Progress
from trainer.jobs.retry import Retry
from trainer.jobs.worker import Worker
from trainer.metrics import TrainerMetrics
from trainer.servicer import SERVICE, TrainerServicer
from trainer.sources import source_reading
from trainer.sources.documents import Documents
from trainer.sources.heidicon_reader import HEIDICON_IDLE_SECONDS, HeidiconReader
from trainer.sources.iiif.reader import IiifReader
from trainer.sources.oai.reader import OaiReader
from trainer.sources.reader import Reader
from trainer.sources.reading_progress import ReadingProgress
from trainer.sources.schedule import Schedule
from trainer.sources.source_reading import SourceReading, SourceStores

log = get_logger(__name__)


class _Nudged(Protocol):
    """A part that looks for work, and can be told to do so now."""

    def nudge(self) -> None: ...

    def running(self) -> AbstractAsyncContextManager[None]: ...


@dataclass(frozen=True)
class RunningTrainer:
    """A running trainer. port: of its gRPC server, 0 for a Unix socket; metrics_port: None if it has none."""

    port: int
    metrics_port: int | None


@dataclass(frozen=True)
class _Parts:
    """The upstreams of the trainer, the catalog on top of them, and what all jobs share."""

    database: Database
    jobs: Jobs
    sources: Sources
    readings: Readings
    images: Images
    indexes: Indexes
    adapters: Adapters
    generations: Generations
    base_stores: BaseStores
    vectors: VectorCollections
    embedder: BulkEmbedder
    downloader: Downloader
    documents: Documents
    heidicon: aiohttp.ClientSession
    numerics: Executor
    metrics: TrainerMetrics


@asynccontextmanager
async def trainer(settings: TrainerSettings) -> AsyncIterator[RunningTrainer]:
    """Run a trainer while entered. On exit, its running jobs go back to the queue. Raises StartupError."""
    async with AsyncExitStack() as stack:
        parts = await _connect(stack, settings)
        jobs, readings = Places(settings.concurrent_jobs), Places(settings.concurrent_readings)
        # More workers than places: a job that waits for hosts lends its place.
        waiting = settings.waiting_jobs
        workers = [_worker(number, parts, jobs, settings) for number in range(settings.concurrent_jobs + waiting)]
        readers = [
            _reader(number, parts, readings, settings) for number in range(settings.concurrent_readings + waiting)
        ]
        nudged: list[_Nudged] = [*workers, *readers, _janitor(parts, settings)]

        def nudge() -> None:
            for part in nudged:
                part.nudge()

        server = await _listen(stack, settings, TrainerServicer(nudge), parts.metrics)
        endpoint = metrics_endpoint(parts.metrics.registry, settings.metrics_host, settings.metrics_port)
        metrics_port = await stack.enter_async_context(endpoint)
        await _watch(stack, parts)
        await stack.enter_async_context(_working(parts.database, [*nudged, JobListener(parts.database, nudge)], server))
        log.info("trainer_listening", listen=settings.listen, port=server.port, health_port=server.health_port)
        yield RunningTrainer(server.port, metrics_port)


async def _connect(stack: AsyncExitStack, settings: TrainerSettings) -> _Parts:
    url = database_url(settings)
    database = await stack.enter_async_context(Database.open(url, max_connections=settings.database_connections))
    qdrant = await stack.enter_async_context(open_qdrant(QdrantAddress.from_settings(settings)))
    channel = await stack.enter_async_context(
        open_channel(settings.embedder_address, service=EMBEDDER, idempotent=IDEMPOTENT, tls=settings.tls)
    )
    metrics = TrainerMetrics(new_registry("trainer"))
    # Training sets are written to this volume.
    show_free_disk(metrics.registry, "temporary", Path(tempfile.gettempdir()), settings.volume_limit)
    return _Parts(
        database=database,
        jobs=Jobs(database, lease_seconds=settings.lease_seconds),
        sources=Sources(database),
        readings=Readings(database, lease_seconds=settings.lease_seconds),
        images=Images(database),
        indexes=Indexes(database, settings.vector_prefix),
        adapters=Adapters(database),
        generations=Generations(qdrant),
        base_stores=BaseStores(qdrant, settings.vector_prefix),
        vectors=VectorCollections(qdrant, settings.vector_prefix),
        embedder=BulkEmbedder(channel, metrics.rpc_client, patience_seconds=settings.patience_seconds),
        downloader=await _open_downloader(stack, settings, settings.max_image_bytes, IMAGES),
        documents=Documents(
            await _open_downloader(stack, settings, settings.max_document_bytes, DOCUMENTS),
            patience_seconds=settings.patience_seconds,
        ),
        heidicon=await stack.enter_async_context(heidicon_session(HEIDICON_IDLE_SECONDS)),
        numerics=stack.enter_context(numerics_executor()),
        metrics=metrics,
    )


async def _open_downloader(
    stack: AsyncExitStack, settings: TrainerSettings, max_bytes: int, accepted: Accepted
) -> Downloader:
    limits = DownloadLimits(
        max_bytes=max_bytes,
        concurrency=settings.download_concurrency,
        per_host=settings.downloads_per_host,
        attempts=settings.download_attempts,
        max_redirects=settings.max_redirects,
        total_seconds=settings.download_seconds,
        connect_seconds=settings.download_connect_seconds,
        first_byte_seconds=settings.download_first_byte_seconds,
        read_seconds=settings.download_read_seconds,
        patience_seconds=settings.download_patience_seconds,
    )
    return await stack.enter_async_context(Downloader.open(limits, settings.download_route(), accepted))


def _worker(number: int, parts: _Parts, places: Places, settings: TrainerSettings) -> Worker[Job, Progress]:
    return Worker(
        _name(f"{number}"),
        parts.jobs,
        _finetune(parts, settings),
        parts.metrics.finetunes,
        finetune.KIND,
        places,
        poll=settings.poll_seconds,
        lease=settings.lease_seconds,
    )


def _reader(number: int, parts: _Parts, places: Places, settings: TrainerSettings) -> Worker[Reading, ReadingProgress]:
    return Worker(
        _name(f"reading-{number}"),
        parts.readings,
        _source_reading(parts, settings),
        parts.metrics.readings,
        source_reading.KIND,
        places,
        poll=settings.poll_seconds,
        lease=settings.lease_seconds,
    )


def _name(worker: str) -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{worker}"


def _source_reading(parts: _Parts, settings: TrainerSettings) -> SourceReading:
    retry = Retry(settings.patience_seconds)
    records = retry.wrap(Records(parts.database))
    stores = SourceStores(retry.wrap(parts.sources), retry.wrap(parts.readings), records)
    readers: dict[SourceType, Reader] = {
        SourceType.IIIF: IiifReader(parts.documents, records, parts.metrics),
        SourceType.OAI: OaiReader(parts.documents, records, parts.metrics),
        SourceType.HEIDICON: HeidiconReader(
            parts.heidicon, records, parts.metrics, page_bytes=settings.max_document_bytes
        ),
    }
    return SourceReading(stores, readers, retry, max_images=settings.max_source_images)


def _finetune(parts: _Parts, settings: TrainerSettings) -> Finetune:
    # A finetune retries all calls of its stores and of the embedder; workers and janitor try again in their own loops.
    retry = Retry(settings.patience_seconds)
    miniatures = retry.wrap(Miniatures(parts.database))
    stores = FinetuneStores(
        jobs=retry.wrap(parts.jobs),
        images=retry.wrap(parts.images),
        versions=retry.wrap(ImageVersions(parts.database)),
        indexes=retry.wrap(parts.indexes),
        adapters=retry.wrap(parts.adapters),
        duplicates=retry.wrap(Duplicates(parts.database)),
        base_stores=parts.base_stores,
    )
    fetch = FetchPipeline(
        images=stores.images,
        versions=stores.versions,
        miniatures=miniatures,
        indexes=stores.indexes,
        downloader=parts.downloader,
        downloads=settings.download_concurrency,
        metrics=parts.metrics,
    )
    threads = settings.learning_threads or max(1, len(os.sched_getaffinity(0)) // 2)
    steps = FinetuneSteps(
        fetch=fetch,
        views=ViewPipeline(stores.images, parts.downloader, settings.kept_images_directory, _kept_bytes(settings)),
        first_fit=PrincipalComponents(parts.numerics),
        fit=LearnedAdapter(parts.numerics, threads=threads, environment=learning_environment()),
        calibration=Calibration(parts.numerics),
        index_builder=IndexBuilder(parts.generations, IndexedImages(parts.database), retry, parts.numerics),
        duplicate_search=DuplicateSearch(
            stores.duplicates, miniatures, parts.numerics, file_bytes=_file_bytes(settings)
        ),
    )
    return Finetune(
        stores,
        steps,
        retry.wrap(parts.embedder),
        retry,
        parts.metrics,
        Tolerance(settings.max_transient_failures, settings.max_refresh_removals),
    )


def _kept_bytes(settings: TrainerSettings) -> int | None:
    """Return how many bytes of images a job may keep. Jobs that wait for hosts keep theirs, too."""
    share = _file_bytes(settings)
    return (
        None
        if share is None
        else share * settings.concurrent_jobs // (settings.concurrent_jobs + settings.waiting_jobs)
    )


def _file_bytes(settings: TrainerSettings) -> int | None:
    """Return how large a job's temporary file may be: half of its share of the volume. Training needs the rest."""
    return None if settings.volume_limit is None else settings.volume_limit // (2 * settings.concurrent_jobs)


def _janitor(parts: _Parts, settings: TrainerSettings) -> Janitor:
    stores = SweptStores(
        collections=Collections(parts.database),
        contents=Contents(parts.database),
        images=parts.images,
        indexes=parts.indexes,
        adapters=parts.adapters,
        generations=parts.generations,
        base_stores=parts.base_stores,
        vectors=parts.vectors,
    )
    sweeps = Sweeps(
        stores,
        parts.metrics,
        index_grace=settings.index_grace_seconds,
        content_grace=settings.content_grace_seconds,
    )
    # One trainer at a time is the janitor, so one queues the readings that are due.
    rounds = {"readings": Schedule(parts.sources).queue_due, **sweeps.by_name()}
    return Janitor(parts.database, rounds, seconds=settings.janitor_seconds)


async def _listen(
    stack: AsyncExitStack, settings: TrainerSettings, servicer: TrainerServicer, metrics: TrainerMetrics
) -> RunningServer:
    """Start the gRPC server, which reports that it is not serving until work begins."""
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
    await server.health.set_serving(False)
    return server


async def _watch(stack: AsyncExitStack, parts: _Parts) -> None:
    """Keep the metrics of the upstreams and of the catalog up to date."""
    upstreams = {
        "postgres": parts.database.ping,
        "qdrant": parts.generations.ping,
        "embedder": parts.embedder.describe,
    }
    await stack.enter_async_context(watched_upstreams(upstreams, parts.metrics.upstreams))
    await stack.enter_async_context(parts.metrics.catalog.refreshing(Statistics(parts.database)))


@asynccontextmanager
async def _working(
    database: Database, parts: Sequence[_Nudged | JobListener], server: RunningServer
) -> AsyncIterator[None]:
    """Work while entered, as soon as the database has the schema that this release writes."""

    async def work() -> None:
        await wait_for_schema(database)
        async with AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(part.running())
            await server.health.set_serving(True)
            await asyncio.Event().wait()

    async with in_background(work(), "work"):
        yield
    # A nudge would be lost on a trainer that no longer works.
    await server.health.set_serving(False)
