"""Content from HeidICON: all objects of a tag, read in pages, as a CSV."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.content.commands import JoinPages, KeepPage
from gateway.content.spool import write_file
from gateway.content.worker import ContentWorker
from gateway.heidicon.client import HeidiconClient
from gateway.heidicon.schema import find_tag
from servicekit.errors import TooLarge, UpstreamFailed
from servicekit.request_context import remaining

PAGE_OBJECTS = 1000
PARALLEL = 8


@dataclass
class _Reading:
    """Pages read so far. totals: what each of them said of the number of objects."""

    token: str
    tag: int
    pages: dict[int, Path] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)


class HeidiconImporter:
    """The use case, on one instance."""

    def __init__(self, client: HeidiconClient, *, seconds: float, page_bytes: int, max_objects: int) -> None:
        """seconds: what reading may take in all. page_bytes: the largest page."""
        self._client = client
        self._seconds = seconds
        self._page_bytes = page_bytes
        self._max_objects = max_objects

    async def write_csv(self, tag: str, worker: ContentWorker, folder: Path, csv: Path) -> None:
        """Writes the CSV of the objects that have a tag, given by a display name or an id.

        Raises InvalidRequest (heidicon_tag_unknown), and UpstreamFailed when the instance does not answer in time,
        answers nonsense, or gives fewer objects than it says it has.
        """
        try:
            async with asyncio.timeout(remaining(self._seconds)):
                reading = await self._read(tag, worker, folder)
        except TimeoutError:
            raise UpstreamFailed("HeidICON did not answer in time.", code="heidicon_unavailable") from None
        pages = [str(reading.pages[offset]) for offset in sorted(reading.pages)]
        joined = await worker.ask(JoinPages(pages, str(csv), self._client.instance))
        found, promised = joined.objects, min(reading.totals)
        if found < promised:
            message = f"HeidICON says that it has {promised} objects, and gave {found}."
            raise UpstreamFailed(message, code="heidicon_incomplete")

    async def _read(self, tag: str, worker: ContentWorker, folder: Path) -> _Reading:
        token = await self._client.anonymous_token()
        reading = _Reading(token, find_tag(await self._client.tags(token), tag))
        await self._read_page(reading, 0, worker, folder)
        # A total that grows while we read brings further pages.
        while offsets := [offset for offset in self._offsets(reading) if offset not in reading.pages]:
            await self._read_pages(reading, offsets, worker, folder)
        return reading

    def _offsets(self, reading: _Reading) -> Iterable[int]:
        total = max(reading.totals)
        if total > self._max_objects:
            raise TooLarge(f"The tag has {total} objects, more than {self._max_objects}.")
        return range(0, max(total, 1), PAGE_OBJECTS)

    async def _read_pages(self, reading: _Reading, offsets: list[int], worker: ContentWorker, folder: Path) -> None:
        pending = iter(offsets)

        async def reader() -> None:
            for offset in pending:
                await self._read_page(reading, offset, worker, folder)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(PARALLEL, len(offsets))):
                    group.create_task(reader())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _read_page(self, reading: _Reading, offset: int, worker: ContentWorker, folder: Path) -> None:
        body, page = folder / f"answer-{offset}", folder / f"page-{offset}"
        async with self._client.search(
            reading.token, reading.tag, offset=offset, limit=PAGE_OBJECTS, max_bytes=self._page_bytes
        ) as pieces:
            await write_file(body, pieces)
        kept = await worker.ask(KeepPage(str(body), str(page), PAGE_OBJECTS))
        body.unlink()
        reading.pages[offset] = page
        reading.totals.append(kept.total)
