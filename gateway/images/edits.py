"""Add rows to a content, or delete some, while its collection is locked, so that no edit and no upload is lost."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.content.edits import ContentEdits, Cut, Edited, NewRows, OpenContent
from catalog.content.lines import ContentLines
from gateway.content.commands import Answer, Command
from gateway.content.csv_dialect import find_dialect
from gateway.content.csv_records import BOM
from gateway.content.disk_errors import disk_errors
from gateway.content.spool import write_file
from gateway.content.upload import Uploads
from gateway.content.worker import ContentWorker, content_worker
from gateway.http.parameters import unknown_fields
from gateway.images.commands import CheckImages, LocatedRows, LocateRows, WriteRows, WrittenRows, check_dialect
from gateway.images.csv_style import HEAD_BYTES
from gateway.images.new_rows import FIELD
from gateway.images.row_lines import MOST_ROWS, ranges_in_lines, texts_of
from gateway.images.row_ranges import ByteRange, WantedRow, line_end_size
from servicekit.errors import TooLarge

# A body of this size is checked within milliseconds. Starting a process would take longer.
SMALL_BYTES = 64 * 1024


@dataclass(frozen=True)
class AddedImages:
    """A content with new rows. warnings: sentences about them for the client."""

    edited: Edited
    warnings: list[str]


class ImageEdits:
    """Edits of contents. They share the places, the limits and the spool of uploads."""

    def __init__(self, *, uploads: Uploads, contents: ContentEdits) -> None:
        self._uploads = uploads
        self._contents = contents

    async def add(self, collection_id: int, body: AsyncIterable[bytes], key_name: str | None) -> AddedImages:
        """Append the rows in a JSON body. Raises InvalidRequest: collection_not_found, invalid_json, invalid_images."""
        async with self._uploads.received(body) as (folder, received), self._working(received) as worker:
            rows = folder / "rows"
            checked = await worker.ask(CheckImages(str(received), str(rows)))
            async with self._contents.open(collection_id) as content:
                if content.row_count + checked.row_count > self._uploads.limits.max_rows:
                    raise TooLarge(f"The CSV may have at most {self._uploads.limits.max_rows} rows.")
                csv, written = await self._written(worker, content, folder, rows)
                new = NewRows(rows, csv, checked.row_count, written.row_lines)
                edited = await content.add(new, key_name)
        return AddedImages(edited, [*checked.warnings, *unknown_fields(checked.fields, (FIELD,))])

    async def delete(self, collection_id: int, image_ids: Sequence[int], key_name: str | None) -> Edited:
        """Cut the rows of images out. Raises InvalidRequest: collection_not_found, image_not_found, and others."""
        async with (
            self._uploads.folder() as folder,
            self._uploads.processing_slot(),
            self._contents.open(collection_id) as content,
        ):
            found = await content.rows(image_ids)
            wanted = [WantedRow(row.image_url, row.repo_url, row.occurrence) for row in found]
            ranges = await self._in_lines(content, folder, wanted)
            if ranges is not None:
                return await content.cut(Cut(image_ids, ranges, None), key_name)
            async with content_worker() as worker:
                located = await self._located(worker, content, folder, wanted)
            read = [(start, end) for start, end in located.ranges]
            return await content.cut(Cut(image_ids, read, bytes.fromhex(located.digest)), key_name)

    async def _located(
        self, worker: ContentWorker, content: OpenContent, folder: Path, wanted: Sequence[WantedRow]
    ) -> LocatedRows:
        """Find rows by reading the whole CSV."""
        listed, csv = folder / "wanted", folder / "csv"
        await write_file(listed, _once(json.dumps([vars(row) for row in wanted]).encode()))
        await write_file(csv, content.read())
        return await worker.ask(LocateRows(str(csv), str(listed)))

    async def _in_lines(
        self, content: OpenContent, folder: Path, wanted: Sequence[WantedRow]
    ) -> list[ByteRange] | None:
        """Find a few rows by their lines; None if the whole CSV has to be read."""
        lines = content.lines
        if lines is None or not 1 <= len(wanted) <= MOST_ROWS:
            return None
        head = folder / "head"
        await write_file(head, content.head(HEAD_BYTES))
        dialect = await asyncio.to_thread(find_dialect, head)
        found = await lines.having(texts_of(wanted, dialect))
        if found is None:
            return None
        totals = await content.occurrences([row.image_url for row in wanted])
        ranges = ranges_in_lines(found, wanted, totals, dialect)
        if ranges is None:
            return None
        if content.row_count > len(wanted):
            await asyncio.to_thread(check_dialect, head, ranges, dialect)
        return await _with_last_line_end(lines, ranges)

    async def _written(
        self, worker: "ContentWorker | _ThreadWorker", content: OpenContent, folder: Path, rows: Path
    ) -> tuple[Path, WrittenRows]:
        """Write rows as they are appended to a content, and return the file, and what is in it. Raises TooLarge."""
        head, target = folder / "head", folder / "appended"
        await write_file(head, content.head(HEAD_BYTES))
        last = await content.last_byte()
        written = await worker.ask(WriteRows(str(head), last.hex(), str(rows), str(target)))
        if content.size + written.size > self._uploads.limits.max_bytes:
            raise self._uploads.limits.exceeded()
        return target, written

    @asynccontextmanager
    async def _working(self, body: Path) -> AsyncIterator["ContentWorker | _ThreadWorker"]:
        async with self._uploads.processing_slot():
            if (await asyncio.to_thread(body.stat)).st_size <= SMALL_BYTES:
                yield _ThreadWorker()
                return
            async with content_worker() as worker:
                yield worker


class _ThreadWorker:
    """Runs the commands of small edits in this process."""

    async def ask(self, command: Command[Answer]) -> Answer:
        """Run a command. Raises what it raises."""
        with disk_errors():
            return await asyncio.to_thread(command.run)


async def _with_last_line_end(lines: ContentLines, ranges: list[ByteRange]) -> list[ByteRange]:
    """Return ranges that also take the line end before the last line, if that is cut and has none itself."""
    start, end = ranges[-1]
    if end < lines.size or (await lines.bytes_of(end - 1, end)) == b"\n":
        return ranges
    first = len(BOM) if await lines.bytes_of(0, len(BOM)) == BOM else 0
    before = await lines.bytes_of(max(start - 2, first), start)
    return [*ranges[:-1], (start - line_end_size(before), end)]


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
