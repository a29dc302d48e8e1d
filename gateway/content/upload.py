"""Uploads: write a body to disk, validate it in a content process, store it in one transaction."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.contents import Contents, Revision, StagedContent
from gateway.admission.shares import ReceivingPlaces
from gateway.content.commands import FIELD, ExtractContent, StageCsv
from gateway.content.disk_space import DiskSpace
from gateway.content.spool import Spool, write_file
from gateway.content.worker import ContentWorker, content_worker
from gateway.heidicon.importer import HeidiconImporter
from gateway.http.parameters import unknown_fields
from gateway.metrics import GatewayMetrics
from servicekit.errors import TooLarge
from servicekit.limits import ConcurrencyLimit
from servicekit.process.fault_points import FaultPoint
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
    warnings: list[str]


@dataclass(frozen=True)
class CreatedCollection:
    """A collection that was created with its content. warnings: sentences about the import for the client."""

    id: int
    warnings: list[str]


@dataclass(frozen=True)
class UploadOptions:
    """How a content is replaced. key_name: the name of the API key that replaces it."""

    key_name: str | None
    allow_empty: bool = False


class Uploads:
    """Replaces the content of collections. A refused upload changes nothing and leaves no file."""

    def __init__(
        self,
        *,
        contents: Contents,
        heidicon: HeidiconImporter,
        spool: Spool,
        receiving: ReceivingPlaces,
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

    async def replace_from_csv(
        self, collection_id: int, body: AsyncIterable[bytes], options: UploadOptions
    ) -> Uploaded:
        """Store the CSV in a body as a collection's content."""
        async with self.received(body) as (folder, csv), self.processing_slot(), content_worker() as worker:
            staged = await self._stage(worker, folder, csv, options)
            return await self._replace(collection_id, staged)

    async def replace_from_json(
        self, collection_id: int, body: AsyncIterable[bytes], options: UploadOptions
    ) -> Uploaded:
        """Store the CSV in a JSON body, in base64 under `content`, as a collection's content."""
        async with self.received(body) as (folder, json), self.processing_slot(), content_worker() as worker:
            csv = folder / "csv"
            with self._metrics.upload_stage("read"):
                extracted = await worker.ask(ExtractContent(str(json), str(csv), self.limits.max_bytes))
            json.unlink()
            staged = await self._stage(worker, folder, csv, options)
            staged.warnings.extend(unknown_fields(extracted.fields, (FIELD,)))
            return await self._replace(collection_id, staged)

    async def replace_from_heidicon(self, collection_id: int, tag: str, key_name: str | None) -> Uploaded:
        """Import the objects of a HeidICON tag as a collection's content. A tag without images empties it."""
        async with self._imported(tag, key_name) as staged:
            return await self._replace(collection_id, staged)

    async def create_from_heidicon(self, name: str, tag: str, key_name: str | None) -> CreatedCollection:
        """Create a collection with the objects of a HeidICON tag."""
        async with self._imported(tag, key_name) as staged:
            with self._storing(staged):
                created = await self._contents.create_collection(name, tag, staged.content)
            return CreatedCollection(created, staged.warnings)

    @asynccontextmanager
    async def received(self, body: AsyncIterable[bytes]) -> AsyncIterator[tuple[Path, Path]]:
        """Write a body to a file, and yield the upload's folder and the file."""
        async with self.folder() as folder:
            received = folder / "body"
            async with self._receiving.slot():
                with self._metrics.upload_stage("receive"):
                    await write_file(received, body)
            FaultPoint.UPLOAD_RECEIVED.reach()
            yield folder, received

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Check the free disk space, and yield a folder for one upload or edit. Raises NoSpace."""
        self._disk.check()
        async with self._spool.folder() as folder:
            yield folder

    @asynccontextmanager
    async def _imported(self, tag: str, key_name: str | None) -> AsyncIterator["_Staged"]:
        self._disk.check()
        places = self._receiving.slot(has_body=False)
        async with places, self._spool.folder() as folder, content_worker() as worker:
            csv = folder / "csv"
            with self._metrics.upload_stage("heidicon"):
                warnings = await self._heidicon.write_csv(tag, worker, folder, csv)
            async with self.processing_slot():
                staged = await self._stage(worker, folder, csv, UploadOptions(key_name, allow_empty=True))
                staged.warnings.extend(warnings)
                if not staged.content.row_count:
                    staged.warnings.append(f"HeidICON has no images for the tag “{tag}”.")
                yield staged

    @asynccontextmanager
    async def processing_slot(self) -> AsyncIterator[None]:
        """Wait for a place among the uploads that are processed, and hold it while entered."""
        async with AsyncExitStack() as stack:
            # Only the wait for the slot belongs to this stage.
            with self._metrics.upload_stage("queue"):
                await stack.enter_async_context(self._processing.slot())
            yield

    async def _stage(self, worker: ContentWorker, folder: Path, csv: Path, options: UploadOptions) -> "_Staged":
        rows = folder / "rows"
        with self._metrics.upload_stage("read"):
            staged = await worker.ask(StageCsv(str(csv), str(rows), self.limits.max_rows, options.allow_empty))
        digest = bytes.fromhex(staged.digest)
        content = StagedContent(csv, rows, digest, staged.row_count, options.key_name, staged.row_lines)
        return _Staged(content, staged.warnings)

    async def _replace(self, collection_id: int, staged: "_Staged") -> Uploaded:
        with self._storing(staged):
            revision = await self._contents.replace(collection_id, staged.content)
        FaultPoint.CONTENT_STORED.reach()
        return Uploaded(revision, staged.warnings)

    @contextmanager
    def _storing(self, staged: "_Staged") -> Iterator[None]:
        self._metrics.upload_bytes.observe(staged.content.csv.stat().st_size)
        with self._metrics.upload_stage("store"):
            yield


@dataclass(frozen=True)
class _Staged:
    """A validated upload. warnings: sentences about it for the client."""

    content: StagedContent
    warnings: list[str]
