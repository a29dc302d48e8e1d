"""New content for a collection: received to disk, read in a process of its own, stored in one transaction."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.contents import Contents, Revision, StagedContent
from gateway.content.commands import ExtractContent, StageCsv, StagedRows, StageJoined
from gateway.content.disk_space import DiskSpace
from gateway.content.spool import Spool, write_file
from gateway.content.worker import ContentWorker, content_worker
from gateway.heidicon.importer import HeidiconImporter
from gateway.metrics import GatewayMetrics
from servicekit.limits import ConcurrencyLimit


@dataclass(frozen=True)
class UploadLimits:
    """The largest content that is taken."""

    max_bytes: int
    max_rows: int

    @property
    def max_json_bytes(self) -> int:
        """The largest JSON body: base64 takes a third more, and its line breaks and escapes some."""
        return self.max_bytes * 3 // 2 + 64 * 1024


class Uploads:
    """The use case. Errors are those of its parts; whatever is refused changes nothing and leaves no file."""

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

    async def replace_from_csv(self, collection_id: int, body: AsyncIterable[bytes]) -> Revision:
        """Makes the CSV that the body is the collection's content."""
        async with self._received(body) as (folder, received), self._turn(), content_worker() as worker:
            return await self._store(collection_id, await self._stage(worker, folder, received))

    async def replace_from_json(self, collection_id: int, body: AsyncIterable[bytes]) -> Revision:
        """Makes the CSV whose base64 the JSON body has under `content` the collection's content."""
        async with self._received(body) as (folder, received), self._turn(), content_worker() as worker:
            csv = folder / "csv"
            with self._metrics.upload_stage("read"):
                await worker.ask(ExtractContent(str(received), str(csv), self.limits.max_bytes))
            received.unlink()
            return await self._store(collection_id, await self._stage(worker, folder, csv))

    async def replace_from_heidicon(self, collection_id: int, tag: str) -> Revision:
        """Reads the objects of the tag again and makes them the collection's content."""
        async with self._objects_of(tag) as staged:
            return await self._store(collection_id, staged)

    async def create_from_heidicon(self, name: str, tag: str) -> int:
        """Makes a collection of the tag's objects; gives its id."""
        async with self._objects_of(tag) as staged:
            with self._metrics.upload_stage("store"):
                return await self._contents.create_collection(name, tag, staged)

    @asynccontextmanager
    async def _received(self, body: AsyncIterable[bytes]) -> AsyncIterator[tuple[Path, Path]]:
        self._disk.check()
        async with self._spool.folder() as folder:
            received = folder / "body"
            async with self._receiving.slot():
                with self._metrics.upload_stage("receive"):
                    await write_file(received, body)
            yield folder, received

    @asynccontextmanager
    async def _objects_of(self, tag: str) -> AsyncIterator[StagedContent]:
        self._disk.check()
        async with self._receiving.slot(), self._spool.folder() as folder, content_worker() as worker:
            csv, rows = folder / "csv", folder / "rows"
            with self._metrics.upload_stage("heidicon"):
                await self._heidicon.write_csv(tag, worker, folder, csv)
            async with self._turn():
                staged = await worker.ask(StageJoined(str(csv), str(rows), self.limits.max_rows))
                yield _staged(csv, rows, staged)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            with self._metrics.upload_stage("queue"):
                await stack.enter_async_context(self._processing.slot())
            yield

    async def _stage(self, worker: ContentWorker, folder: Path, csv: Path) -> StagedContent:
        rows = folder / "rows"
        with self._metrics.upload_stage("read"):
            staged = await worker.ask(StageCsv(str(csv), str(rows), self.limits.max_rows))
        return _staged(csv, rows, staged)

    async def _store(self, collection_id: int, staged: StagedContent) -> Revision:
        self._metrics.upload_bytes.observe(staged.csv.stat().st_size)
        with self._metrics.upload_stage("store"):
            return await self._contents.replace(collection_id, staged)


def _staged(csv: Path, rows: Path, staged: StagedRows) -> StagedContent:
    return StagedContent(csv, rows, bytes.fromhex(staged.digest), staged.row_count)
