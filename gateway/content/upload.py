"""Uploads: write a body to disk, validate it in a content process, store it in one transaction."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from catalog.contents import Contents, Revision, StagedContent
from gateway.content.commands import FIELD, ExtractContent, StageCsv
from gateway.content.disk_space import DiskSpace
from gateway.content.spool import Spool, write_file
from gateway.content.worker import ContentWorker, content_worker
from gateway.heidicon.importer import HeidiconImporter
from gateway.http.parameters import unknown_fields
from gateway.metrics import GatewayMetrics
from servicekit.errors import TooLarge
from servicekit.limits import ConcurrencyLimit
from servicekit.quantities import size_in_words


@dataclass(frozen=True)
class UploadLimits:
    """The largest CSV that is accepted."""

    max_bytes: int
    max_rows: int

    @property
    def max_json_bytes(self) -> int:
        """The largest JSON body. Base64 is a third longer, and can contain line breaks and escapes."""
        return self.max_bytes * 3 // 2 + 64 * 1024

    def exceeded(self) -> TooLarge:
        """Return the error for a CSV that is too large."""
        return TooLarge(f"The CSV may have at most {size_in_words(self.max_bytes)}.")


@dataclass(frozen=True)
class Uploaded:
    """A stored content. warnings: sentences about the upload for the client."""

    revision: Revision
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CreatedCollection:
    """A collection that was created with its content. warnings: sentences about the import for the client."""

    id: int
    warnings: list[str]


class Uploads:
    """Replaces the content of collections. A refused upload changes nothing and leaves no file."""

    def __init__(
        self,
        *,
        contents: Contents,
        heidicon: HeidiconImporter,
        spool: Spool,
        receiving: ConcurrencyLimit,
        processing: ConcurrencyLimit,
        disk: DiskSpace,
        limits: UploadLimits,
        metrics: GatewayMetrics,
    ) -> None:
        self.limits = limits
        self._contents = contents
        self._heidicon = heidicon
        self._spool = spool
        self._receiving = receiving
        self._processing = processing
        self._disk = disk
        self._metrics = metrics

    async def replace_from_csv(self, collection_id: int, body: AsyncIterable[bytes]) -> Uploaded:
        """Store the CSV in a body as a collection's content."""
        async with self._received(body) as (folder, csv), self._processing_slot(), content_worker() as worker:
            staged = await self._stage(worker, folder, csv)
            return Uploaded(await self._replace(collection_id, staged))

    async def replace_from_json(self, collection_id: int, body: AsyncIterable[bytes]) -> Uploaded:
        """Store the CSV in a JSON body, in base64 under `content`, as a collection's content."""
        async with self._received(body) as (folder, json), self._processing_slot(), content_worker() as worker:
            csv = folder / "csv"
            with self._metrics.upload_stage("read"):
                extracted = await worker.ask(ExtractContent(str(json), str(csv), self.limits.max_bytes))
            json.unlink()
            staged = await self._stage(worker, folder, csv)
            return Uploaded(await self._replace(collection_id, staged), unknown_fields(extracted.fields, (FIELD,)))

    async def replace_from_heidicon(self, collection_id: int, tag: str) -> Uploaded:
        """Import the objects of a HeidICON tag as a collection's content."""
        async with self._imported(tag) as (staged, warnings):
            return Uploaded(await self._replace(collection_id, staged), warnings)

    async def create_from_heidicon(self, name: str, tag: str) -> CreatedCollection:
        """Create a collection with the objects of a HeidICON tag."""
        async with self._imported(tag) as (staged, warnings):
            with self._storing(staged):
                return CreatedCollection(await self._contents.create_collection(name, tag, staged), warnings)

    @asynccontextmanager
    async def _received(self, body: AsyncIterable[bytes]) -> AsyncIterator[tuple[Path, Path]]:
        """Write a body to a file, and yield the upload's folder and the file."""
        self._disk.check()
        async with self._spool.folder() as folder:
            received = folder / "body"
            async with self._receiving.slot():
                with self._metrics.upload_stage("receive"):
                    await write_file(received, body)
            yield folder, received

    @asynccontextmanager
    async def _imported(self, tag: str) -> AsyncIterator[tuple[StagedContent, list[str]]]:
        self._disk.check()
        async with self._receiving.slot(), self._spool.folder() as folder, content_worker() as worker:
            csv = folder / "csv"
            with self._metrics.upload_stage("heidicon"):
                warnings = await self._heidicon.write_csv(tag, worker, folder, csv)
            async with self._processing_slot():
                yield await self._stage(worker, folder, csv), warnings

    @asynccontextmanager
    async def _processing_slot(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # Only the wait for the slot belongs to this stage.
            with self._metrics.upload_stage("queue"):
                await stack.enter_async_context(self._processing.slot())
            yield

    async def _stage(self, worker: ContentWorker, folder: Path, csv: Path) -> StagedContent:
        rows = folder / "rows"
        with self._metrics.upload_stage("read"):
            staged = await worker.ask(StageCsv(str(csv), str(rows), self.limits.max_rows))
        return StagedContent(csv, rows, bytes.fromhex(staged.digest), staged.row_count)

    async def _replace(self, collection_id: int, staged: StagedContent) -> Revision:
        with self._storing(staged):
            return await self._contents.replace(collection_id, staged)

    @contextmanager
    def _storing(self, staged: StagedContent) -> Iterator[None]:
        self._metrics.upload_bytes.observe(staged.csv.stat().st_size)
        with self._metrics.upload_stage("store"):
            yield
