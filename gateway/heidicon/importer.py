"""The import from HeidICON: read all objects of a tag, page by page, and write them as a CSV."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.content.commands import JoinPages, ParsePage
from gateway.content.spool import write_file
from gateway.content.worker import ContentWorker
from servicekit.errors import TooLarge, UpstreamFailed
from servicekit.heidicon.client import HeidiconClient
from servicekit.heidicon.schema import find_tags
from servicekit.quantities import counted
from servicekit.request_context import remaining

PAGE_OBJECTS = 1000
PARALLEL_PAGES = 8
# An instance that has sent no page for this share of the time has stopped answering.
SILENT_SHARE = 0.25


READ_IN_BACKGROUND = (
    "HeidICON has more objects than can be read within one request, so they are read in the background. "
    "source in the collection's info shows the progress."
)


class TakesLonger(Exception):
    """The instance answers, but has more objects than it sends in the time of a request.

    instance, tag: the address of the instance, and the id of the tag. warnings: for the client.
    """

    def __init__(self, instance: str, tag: int, warnings: Sequence[str]) -> None:
        super().__init__()
        self.instance = instance
        self.tag = tag
        self.warnings = warnings


class HeidiconImporter:
    """Imports from one instance."""

    def __init__(self, client: HeidiconClient, *, seconds: float, page_bytes: int, max_objects: int) -> None:
        """seconds: the time limit for reading all pages. page_bytes: the largest page that is accepted."""
        self._client = client
        self._seconds = seconds
        self._page_bytes = page_bytes
        self._max_objects = max_objects

    async def write_csv(self, tag: str, worker: ContentWorker, folder: Path, csv: Path) -> list[str]:
        """Write the CSV of all objects with a tag, and return warnings for the client.

        tag: a display name or an id; the first of several tags with one name counts. folder: for temporary files.
        Raises InvalidRequest (heidicon_tag_unknown), TooLarge for more than `max_objects`, and UpstreamFailed:
        heidicon_unavailable, heidicon_bad_answer; heidicon_incomplete for fewer objects than reported. Raises
        TakesLonger if the time is over while pages still come.
        """
        pages: _Pages | None = None
        seconds = remaining(self._seconds)
        try:
            async with asyncio.timeout(seconds):
                pages = await self._begin(tag, worker, folder)
                while missing := self._missing(pages):
                    await pages.read_all(missing)
        except TimeoutError:
            if pages is not None and pages.still_come(SILENT_SHARE * seconds):
                raise TakesLonger(self._client.instance, pages.tag, pages.warnings) from None
            message = "HeidICON did not respond in time. Try again later."
            raise UpstreamFailed(message, code="heidicon_unavailable") from None
        paths = [str(pages.paths[offset]) for offset in sorted(pages.paths)]
        joined = await worker.ask(JoinPages(paths, str(csv), self._client.instance))
        # Objects can be deleted during the import, so the smallest total counts.
        reported = min(pages.totals)
        if joined.objects < reported:
            message = (
                f"HeidICON reported {counted(reported, 'object')} but sent only {joined.objects}. Try again later."
            )
            raise UpstreamFailed(message, code="heidicon_incomplete")
        return pages.warnings

    async def _begin(self, tag: str, worker: ContentWorker, folder: Path) -> "_Pages":
        """Find the tag and read its first page."""
        token = await self._client.anonymous_token()
        found = find_tags(await self._client.tags(token), tag)
        pages = _Pages(self._client, worker, folder, token, found[0], self._page_bytes)
        if len(found) > 1:
            ids = ", ".join(map(str, found))
            pages.warnings.append(
                f"HeidICON has several tags “{tag}”, with the ids {ids}. The first one, {found[0]}, was read. "
                "Create the collection with an id as its heidicon_tag to choose another one."
            )
        await pages.read(0)
        return pages

    def _missing(self, pages: "_Pages") -> list[int]:
        # Objects can be added during the import, so the largest total counts.
        total = max(pages.totals)
        if total > self._max_objects:
            raise TooLarge(
                f"The tag has {counted(total, 'object')}. A collection may have at most {self._max_objects}."
            )
        return [offset for offset in range(0, total, PAGE_OBJECTS) if offset not in pages.paths]


@dataclass
class _Pages:
    """The pages of one search.

    paths: the parsed pages by offset. totals: the number of objects that each reported. warnings: for the client.
    """

    client: HeidiconClient
    worker: ContentWorker
    folder: Path
    token: str
    tag: int
    max_bytes: int
    paths: dict[int, Path] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # How many pages have come, and when the latest one did, on the monotonic clock.
    received: int = 0
    latest: float = 0.0

    def still_come(self, seconds: float) -> bool:
        """Return whether pages after the first one have come, the latest of them within these seconds."""
        return self.received > 1 and time.monotonic() - self.latest < seconds

    async def read_all(self, offsets: Sequence[int]) -> None:
        """Read several pages, `PARALLEL_PAGES` at a time."""
        pending = iter(offsets)

        async def reader() -> None:
            for offset in pending:
                await self.read(offset)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(PARALLEL_PAGES, len(offsets))):
                    group.create_task(reader())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def read(self, offset: int) -> None:
        """Read and parse one page."""
        body, page = self.folder / f"answer-{offset}", self.folder / f"page-{offset}"
        async with self.client.search(
            self.token, self.tag, offset=offset, limit=PAGE_OBJECTS, max_bytes=self.max_bytes
        ) as chunks:
            await write_file(body, chunks)
        self.received, self.latest = self.received + 1, time.monotonic()
        parsed = await self.worker.ask(ParsePage(str(body), str(page), PAGE_OBJECTS))
        body.unlink()
        self.paths[offset] = page
        self.totals.append(parsed.total)
