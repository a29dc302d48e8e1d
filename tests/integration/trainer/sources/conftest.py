"""A worker for readings on a real Postgres, with hosts that tests control. It needs neither Qdrant nor an embedder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio
from prometheus_client import CollectorRegistry

from catalog.collections import Collections
from catalog.contents import Contents
from catalog.jobs import Jobs
from catalog.postgres.database import Database
from catalog.sources.readings import Readings
from catalog.sources.records import Records
from catalog.sources.sources import NewestReading, NewSource, Source, Sources, SourceType
from servicekit.download.client import Downloader
from servicekit.download.content_kind import DOCUMENTS
from servicekit.download.limits import DownloadLimits, DownloadRoute
from servicekit.heidicon.client import heidicon_session
from tests.integration.databases import new_database
from tests.integration.trainer.sources.iiif_host import IiifHost, running_host
from tests.integration.trainer.sources.oai_repository import Repository, running_repository
from trainer.jobs.places import Places
from trainer.jobs.retry import Retry
from trainer.jobs.worker import Worker
from trainer.metrics import TrainerMetrics
from trainer.sources import source_reading
from trainer.sources.documents import Documents
from trainer.sources.heidicon_reader import HeidiconReader
from trainer.sources.iiif.reader import IiifReader
from trainer.sources.oai.reader import OaiReader
from trainer.sources.source_reading import SourceReading, SourceStores

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024


class Place:
    """A catalog, and workers that read its sources."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sources = Sources(database)
        self.contents = Contents(database)
        self.collections = Collections(database)
        self.jobs = Jobs(database)
        self.lease_seconds = 30.0
        self.allow_private = True
        self.max_images = 1_000_000
        # The work of the worker that runs.
        self.work: SourceReading | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Run a worker while entered."""
        limits = DownloadLimits(MAX_DOCUMENT_BYTES, 16, 8, 2, 5, 30.0, 5.0, 10.0, 10.0, 60.0)
        route = DownloadRoute(self.allow_private, "similis-tests")
        async with Downloader.open(limits, route, DOCUMENTS) as downloader, heidicon_session(5.0) as heidicon:
            documents = Documents(downloader, patience_seconds=0.0)
            records, metrics = Records(self.database), TrainerMetrics(CollectorRegistry())
            readings = Readings(self.database, lease_seconds=self.lease_seconds)
            self.work = SourceReading(
                SourceStores(self.sources, readings, records),
                {
                    SourceType.IIIF: IiifReader(documents, records, metrics),
                    SourceType.OAI: OaiReader(documents, records, metrics),
                    SourceType.HEIDICON: HeidiconReader(heidicon, records, metrics, page_bytes=MAX_DOCUMENT_BYTES),
                },
                Retry(0.0),
                max_images=self.max_images,
            )
            worker = Worker(
                "reader",
                readings,
                self.work,
                metrics.readings,
                source_reading.KIND,
                Places(1),
                poll=0.05,
                lease=self.lease_seconds,
            )
            async with worker.running():
                yield

    async def create(self, source: NewSource) -> int:
        """Create a collection with a source."""
        collection, _ = await self.sources.create_collection("leaves", source, None)
        return collection

    async def read(self, collection: int, *, whole: bool = False) -> Source:
        """Read a source again unless a reading is queued, wait for its end, and return the source."""
        await self.sources.enqueue(collection, whole=whole, key_name=None)
        async with self.reading():
            return await self.ended(collection)

    async def ended(self, collection: int, seconds: float = 60.0) -> Source:
        """Wait for the end of the newest reading."""
        async with asyncio.timeout(seconds):
            while (await self.newest(collection)).active:  # noqa: ASYNC110 (the worker ends it)
                await asyncio.sleep(0.02)
        source = await self.sources.find(collection)
        assert source is not None
        return source

    async def newest(self, collection: int) -> NewestReading:
        source = await self.sources.find(collection)
        assert source is not None
        assert source.newest is not None
        return source.newest

    async def failed(self, collection: int, *, whole: bool = False) -> tuple[str | None, str]:
        """Read a source, which must fail, and return code and message."""
        source = await self.read(collection, whole=whole)
        assert source.newest is not None
        assert source.newest.state == "failed", source.newest
        return source.newest.error_code, source.newest.error_message or ""

    async def csv(self, collection: int) -> str:
        """Return the newest content."""
        revision = (await self.collections.get(collection)).content_revision
        return b"".join([chunk async for chunk in self.contents.read(collection, revision)]).decode()

    async def expire_leases(self) -> None:
        """Let the leases of all readings expire, as after a kill."""
        async with self.database.connection() as connection:
            await connection.execute("UPDATE source_readings SET lease_until = now() - interval '1 s'")


@pytest_asyncio.fixture(loop_scope="session")
async def place(postgres_url: str) -> AsyncIterator[Place]:
    async with new_database(postgres_url) as url, Database.open(url) as database:
        yield Place(database)


@pytest_asyncio.fixture(loop_scope="session")
async def repository() -> AsyncIterator[Repository]:
    async with running_repository() as repository:
        yield repository


@pytest_asyncio.fixture(loop_scope="session")
async def host() -> AsyncIterator[IiifHost]:
    async with running_host() as host:
        yield host
