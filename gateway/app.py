"""Build and connect the gateway's objects. They start in the order in which they are entered, and stop in reverse."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from catalog.adapters import Adapters
from catalog.collections import Collections
from catalog.content.edits import ContentEdits
from catalog.content.image_states import ImageStates
from catalog.contents import Contents
from catalog.duplicates.groups import Duplicates
from catalog.image_versions import ImageVersions
from catalog.images import Images
from catalog.index_history import IndexHistory
from catalog.indexed_images import IndexedImages
from catalog.indexes import Indexes
from catalog.jobs import Jobs
from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database, database_url
from catalog.sources.readings import Readings
from catalog.sources.records import Records
from catalog.sources.sources import Sources
from catalog.statistics import Statistics
from catalog.vectors.client import QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from gateway.about.handlers import AboutHandlers, Limits
from gateway.access.key_check import KeyCheck
from gateway.admission.adaptive_limit import AdaptiveLimit
from gateway.admission.admission import Admission
from gateway.admission.client import Clients
from gateway.admission.connections import ConnectionLimits, Connections
from gateway.admission.fair_queue import FairQueue
from gateway.admission.rate_limit import RateLimit
from gateway.admission.shares import ReceivingPlaces
from gateway.collections.duplicate_handlers import DuplicateHandlers
from gateway.collections.handlers import CollectionHandlers
from gateway.collections.index_handlers import IndexHandlers
from gateway.collections.status_handlers import StatusHandlers
from gateway.config import GatewaySettings
from gateway.content.disk_space import DiskSpace
from gateway.content.handlers import ContentHandlers
from gateway.content.spool import Spool
from gateway.content.upload import UploadLimits, Uploads
from gateway.heidicon.importer import HeidiconImporter
from gateway.http.cors import Cors
from gateway.http.draining import Drain
from gateway.http.middleware import RequestPipeline
from gateway.http.routes import (
    Handlers,
    add_about_routes,
    add_page_routes,
    add_routes,
    add_status_routes,
    api_routes,
)
from gateway.http.server import ProblemRunner
from gateway.iiif.manifest_answers import ManifestAnswers
from gateway.images.edits import ImageEdits
from gateway.images.embedding_handlers import EmbeddingHandlers
from gateway.images.handlers import ImageHandlers
from gateway.metrics import GatewayMetrics
from gateway.search.across import CollectionsSearch
from gateway.search.adapter_cache import AdapterCache
from gateway.search.bodies import SearchBodies
from gateway.search.costly_images import CostlyImages
from gateway.search.example_downloads import ExampleDownloads
from gateway.search.handlers import SearchHandlers
from gateway.search.image_urls import ImageUrls
from gateway.search.index.held_rows import HeldRows
from gateway.search.index.held_vectors import HeldVectors
from gateway.search.index.live_checks import LiveChecks
from gateway.search.index.live_indexes import LiveIndexes
from gateway.search.index.nearest import Nearest
from gateway.search.query_vectors import QueryVectors
from gateway.search.question_fields import MAX_RESULTS
from gateway.search.service import SearchService
from gateway.search.texts.point_search import PointSearch
from gateway.search.texts.sample_cache import SampleCache
from gateway.sources.handlers import SourceHandlers
from gateway.thumbnails.handlers import ThumbnailHandlers
from gateway.thumbnails.service import Thumbnails
from gateway.upstreams.embedder import IDEMPOTENT, Embedder, QueryEmbedder
from gateway.upstreams.embedder import SERVICE as EMBEDDER
from gateway.upstreams.readiness import GatewayReadiness
from gateway.upstreams.schema_wait import SchemaWait
from gateway.upstreams.trainer import IDEMPOTENT as NUDGE_IDEMPOTENT
from gateway.upstreams.trainer import SERVICE as TRAINER
from gateway.upstreams.trainer import TrainerClient
from gateway.web.assets import Site
from gateway.web.handlers import PageHandlers
from servicekit.grpc.channel import open_channel
from servicekit.heidicon.client import HeidiconClient, heidicon_session
from servicekit.limits import ConcurrencyLimit
from servicekit.process.descriptors import descriptor_limit
from servicekit.process.memory import give_large_blocks_back
from servicekit.process.service import StartupError
from servicekit.settings import SettingsError
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import metrics_endpoint, new_registry, show_free_disk
from servicekit.telemetry.upstreams import watched_upstreams

log = get_logger(__name__)

# How long a connection may be idle, or take to send the headers of a request.
KEEP_ALIVE_SECONDS = 65.0
# How long requests that outlasted the grace period have to clean up after they are cancelled.
CANCEL_SECONDS = 2.0
# However slow the database is, as many quick requests as this run at a time.
LEAST_QUICK = 4
# Downloads take as long as their clients like, so waiting for the end of one is of little use.
DOWNLOAD_WAIT_SECONDS = 0.1


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that answers at `http://host:port`. metrics_port: None if `/metrics` is on the same port."""

    host: str
    port: int
    metrics_port: int | None = None


@dataclass(frozen=True)
class _Parts:
    """The databases, services and disk that the gateway uses."""

    database: Database
    vectors: Generations
    held: HeldVectors
    rows: HeldRows
    live: LiveChecks
    embedder: Embedder
    trainer: TrainerClient
    heidicon: HeidiconClient
    image_urls: ImageUrls
    spool: Spool
    thumbnails: Thumbnails | None
    schema: SchemaWait


@asynccontextmanager
async def gateway(settings: GatewaySettings, embedder: Embedder | None = None) -> AsyncIterator[RunningGateway]:
    """Serve while entered. On exit, requests under way have the grace period to finish.

    embedder: embeds queries in this process; None: the one at the address in the settings does. Raises StartupError or
    SettingsError.
    """
    async with AsyncExitStack() as stack:
        give_large_blocks_back()
        metrics = GatewayMetrics(new_registry("gateway"))
        parts = await _connect(stack, settings, metrics, embedder)
        drain = Drain()
        endpoint = metrics_endpoint(metrics.registry, settings.metrics_host, settings.metrics_port)
        metrics_port = await stack.enter_async_context(endpoint)
        await _watch(stack, parts, metrics)
        cors = Cors(settings.origins)
        application = _application(parts, settings, metrics, drain, cors)
        limits = ConnectionLimits.fitting(settings.max_connections, settings.max_client_connections, descriptor_limit())
        connections = Connections(limits, settings.proxies, metrics)
        await stack.enter_async_context(connections.watched())
        runner = _runner(application, cors, connections)
        host, port = await _listen(stack, settings, runner, drain)
        log.info("gateway_listening", host=host, port=port, metrics_port=metrics_port)
        yield RunningGateway(host, port, metrics_port)


async def _connect(
    stack: AsyncExitStack, settings: GatewaySettings, metrics: GatewayMetrics, embedder: Embedder | None
) -> _Parts:
    try:
        spool = stack.enter_context(Spool.open(settings.spool_directory))
    except OSError as error:
        folder = settings.spool_directory or "the system's folder for temporary files"
        raise SettingsError(
            f"cannot create a folder for uploads in {folder}: {error.strerror}. Set SIMILIS_SPOOL_DIRECTORY to a "
            "writable folder"
        ) from error
    url = database_url(settings)
    database = await stack.enter_async_context(Database.open(url, max_connections=settings.database_connections))
    qdrant = await stack.enter_async_context(open_qdrant(QdrantAddress.from_settings(settings)))
    if embedder is None:
        channel = await stack.enter_async_context(
            open_channel(settings.embedder_address, service=EMBEDDER, idempotent=IDEMPOTENT, tls=settings.tls)
        )
        embedder = QueryEmbedder(channel, metrics.rpc_client)
    trainer = await stack.enter_async_context(
        open_channel(settings.trainer_address, service=TRAINER, idempotent=NUDGE_IDEMPOTENT, tls=settings.tls)
    )
    show_free_disk(metrics.registry, "spool", spool.root, settings.volume_limit)
    vectors = Generations(qdrant)
    held = await stack.enter_async_context(HeldVectors.open(vectors, max_bytes=settings.held_vector_bytes))
    metrics.held_vectors.set_function(lambda: held.held_bytes)
    return _Parts(
        database=database,
        vectors=vectors,
        held=held,
        rows=await stack.enter_async_context(HeldRows.open(IndexedImages(database), held)),
        live=await stack.enter_async_context(LiveChecks.open(Indexes(database, settings.vector_prefix))),
        embedder=embedder,
        trainer=await stack.enter_async_context(TrainerClient.open(trainer, metrics.rpc_client)),
        heidicon=HeidiconClient(
            await stack.enter_async_context(heidicon_session(settings.heidicon_seconds)), settings.heidicon_url
        ),
        image_urls=await stack.enter_async_context(ImageUrls.open(settings, metrics)),
        spool=spool,
        thumbnails=await stack.enter_async_context(Thumbnails.open(settings, spool.subfolder("thumbnails"), metrics)),
        schema=await stack.enter_async_context(SchemaWait.open(database)),
    )


async def _watch(stack: AsyncExitStack, parts: _Parts, metrics: GatewayMetrics) -> None:
    upstreams = {
        "postgres": parts.database.ping,
        "qdrant": parts.vectors.ping,
        "embedder": parts.embedder.check,
        "trainer": parts.trainer.check,
    }
    await stack.enter_async_context(watched_upstreams(upstreams, metrics.upstreams))
    await stack.enter_async_context(metrics.catalog.refreshing(Statistics(parts.database)))


def _application(
    parts: _Parts, settings: GatewaySettings, metrics: GatewayMetrics, drain: Drain, cors: Cors
) -> web.Application:
    admission, clients = _admission(settings, metrics), Clients()
    pipeline = RequestPipeline(
        metrics=metrics,
        drain=drain,
        cors=cors,
        schema=parts.schema,
        keys=KeyCheck(ApiKeys(parts.database), clients, read_key_required=settings.read_key_required),
        proxies=settings.proxies,
        clients=clients,
        admission=admission,
    )
    application = web.Application()
    pipeline.install(application)
    handlers = _handlers(parts, settings, metrics, drain, admission)
    routes = api_routes(handlers, request_seconds=settings.request_seconds, upload_seconds=settings.upload_seconds)
    add_routes(application, routes, pipeline)
    add_about_routes(application, _about(parts, settings))
    add_page_routes(application, handlers.page)
    add_status_routes(application, handlers.status, metrics=settings.metrics_port is None)
    return application


def _admission(settings: GatewaySettings, metrics: GatewayMetrics) -> Admission:
    seconds = settings.search_queue_seconds
    searches = AdaptiveLimit(settings.search_concurrency)
    quick = AdaptiveLimit(settings.quick_concurrency, least=LEAST_QUICK)
    # How long a download takes is up to the client.
    at_once = settings.download_concurrency
    downloads = AdaptiveLimit(at_once, least=at_once)
    metrics.search_limit.set_function(lambda: searches.value)
    return Admission(
        searches=FairQueue("searches", searches, waiting=settings.search_queue, wait_seconds=seconds),
        quick=FairQueue("requests", quick, waiting=settings.quick_queue, wait_seconds=seconds),
        downloads=FairQueue(
            "downloads",
            downloads,
            waiting=at_once,
            wait_seconds=min(seconds, DOWNLOAD_WAIT_SECONDS),
            of_client=max(1, at_once // 2),
        ),
        rate=RateLimit(settings.requests_per_second),
    )


def _handlers(
    parts: _Parts, settings: GatewaySettings, metrics: GatewayMetrics, drain: Drain, admission: Admission
) -> Handlers:
    collections, contents = Collections(parts.database), Contents(parts.database)
    disk = DiskSpace(settings.data_directory, settings.min_free_disk_bytes)
    uploads = _uploads(parts, contents, disk, settings, metrics)
    indexes = Indexes(parts.database, settings.vector_prefix)
    live = LiveIndexes(indexes, metrics)
    searches = _search_service(parts, live, settings, metrics, admission)
    readiness = GatewayReadiness(
        drain.check,
        {
            "postgres": parts.database.ping,
            "schema": parts.schema.check,
            "qdrant": parts.vectors.ping,
            "embedder": parts.embedder.check,
        },
    )
    sources, records = Sources(parts.database), Records(parts.database)
    status = StatusHandlers(readiness=readiness, registry=metrics.registry)
    return Handlers(
        collections=CollectionHandlers(
            collections=collections,
            jobs=Jobs(parts.database),
            sources=sources,
            indexes=indexes,
            versions=ImageVersions(parts.database),
            uploads=uploads,
            embedder=parts.embedder,
            trainer=parts.trainer,
            disk=disk,
            drain=drain,
            max_name_characters=settings.max_name_characters,
        ),
        contents=ContentHandlers(
            collections=collections,
            contents=contents,
            sources=sources,
            uploads=uploads,
            trainer=parts.trainer,
            drain=drain,
        ),
        images=ImageHandlers(
            collections=collections,
            states=ImageStates(parts.database),
            edits=ImageEdits(uploads=uploads, contents=ContentEdits(parts.database)),
            records=records,
        ),
        manifests=ManifestAnswers(
            records, Images(parts.database), settings.proxies, serves_thumbnails=settings.serve_thumbnails
        ),
        embeddings=EmbeddingHandlers(indexes=indexes, images=IndexedImages(parts.database), vectors=parts.vectors),
        sources=SourceHandlers(
            collections=collections, sources=sources, readings=Readings(parts.database), trainer=parts.trainer
        ),
        duplicates=DuplicateHandlers(collections=collections, duplicates=Duplicates(parts.database)),
        indexes=IndexHandlers(collections=collections, history=IndexHistory(parts.database)),
        searches=SearchHandlers(
            searches=searches,
            across=CollectionsSearch(searches, live),
            bodies=SearchBodies(memory_bytes=settings.body_memory_bytes, max_image_bytes=settings.max_image_bytes),
            costly=CostlyImages(),
        ),
        thumbnails=ThumbnailHandlers(
            collections=collections, images=Images(parts.database), thumbnails=parts.thumbnails
        ),
        status=status,
        page=PageHandlers(Site.load(serves_thumbnails=settings.serve_thumbnails), status.about),
    )


def _about(parts: _Parts, settings: GatewaySettings) -> AboutHandlers:
    limits = Limits(
        max_name_characters=settings.max_name_characters,
        max_image_bytes=settings.max_image_bytes,
        max_num_results=MAX_RESULTS,
        max_csv_bytes=settings.max_csv_bytes,
        max_csv_rows=settings.max_csv_rows,
        request_seconds=settings.request_seconds,
        upload_seconds=settings.upload_seconds,
    )
    return AboutHandlers(
        embedder=parts.embedder,
        limits=limits,
        read_key_required=settings.read_key_required,
        serves_thumbnails=settings.serve_thumbnails,
    )


def _search_service(
    parts: _Parts, live: LiveIndexes, settings: GatewaySettings, metrics: GatewayMetrics, admission: Admission
) -> SearchService:
    images = IndexedImages(parts.database)
    return SearchService(
        indexes=live,
        query_vectors=QueryVectors(
            embedder=parts.embedder,
            adapters=AdapterCache(Adapters(parts.database), max_bytes=settings.adapter_cache_bytes),
            vectors=parts.vectors,
            held=parts.held,
            images=images,
            downloads=ExampleDownloads(parts.image_urls),
            metrics=metrics,
        ),
        nearest=Nearest(
            PointSearch(parts.vectors, parts.held, SampleCache(parts.vectors, max_bytes=settings.sample_cache_bytes)),
            parts.rows,
            parts.live,
            metrics,
        ),
        images=images,
        places=admission.searches,
        metrics=metrics,
    )


def _uploads(
    parts: _Parts, contents: Contents, disk: DiskSpace, settings: GatewaySettings, metrics: GatewayMetrics
) -> Uploads:
    heidicon = HeidiconImporter(
        parts.heidicon,
        seconds=settings.heidicon_seconds,
        page_bytes=settings.heidicon_page_bytes,
        max_objects=settings.max_csv_rows,
    )
    return Uploads(
        contents=contents,
        heidicon=heidicon,
        spool=parts.spool,
        receiving=ReceivingPlaces(settings.upload_receivers),
        processing=ConcurrencyLimit(
            "uploads",
            at_once=settings.upload_concurrency,
            waiting=settings.upload_queue,
            wait_seconds=settings.upload_queue_seconds,
        ),
        disk=disk,
        limits=UploadLimits(settings.max_csv_bytes, settings.max_csv_rows),
        metrics=metrics,
    )


def _runner(application: web.Application, cors: Cors, connections: Connections) -> ProblemRunner:
    return ProblemRunner(
        application,
        cors=cors,
        connections=connections,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        shutdown_timeout=CANCEL_SECONDS,
        # `gateway.http.body` decompresses, and counts the bytes while it does.
        auto_decompress=False,
    )


async def _listen(
    stack: AsyncExitStack, settings: GatewaySettings, runner: ProblemRunner, drain: Drain
) -> tuple[str, int]:
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, settings.host, settings.port)
    try:
        await site.start()
    except OSError as error:
        message = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        raise StartupError(message) from error
    host, port = runner.addresses[0][:2]
    stack.push_async_callback(drain.wait, settings.shutdown_grace_seconds)
    stack.push_async_callback(site.stop)
    stack.push_async_callback(drain.announce, settings.drain_seconds)
    return host, port
