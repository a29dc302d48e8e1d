"""The reader of HeidICON: all objects of a tag, for tags that take longer than the request that asked for them."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import aiohttp

from catalog.content.cell_text import is_image_url
from catalog.sources.readings import Reading
from catalog.sources.records import RecordFailure, Records, SourceImage, SourceRecord
from catalog.sources.sources import Source
from servicekit.backoff import Backoff
from servicekit.errors import ServiceError, UpstreamFailed
from servicekit.heidicon.client import HeidiconClient
from servicekit.heidicon.schema import ObjectPage, parse_page
from servicekit.quantities import counted
from servicekit.telemetry.logs import get_logger
from trainer.metrics import TrainerMetrics
from trainer.sources.reader import ReadResult
from trainer.sources.reading_progress import ReadingProgress

log = get_logger(__name__)

# Small enough for the memory of a trainer: an object can have 100 kB.
PAGE_OBJECTS = 200
PARALLEL_PAGES = 4
# How often a page is asked for. Its session may have expired meanwhile.
ATTEMPTS = 5
# How long an instance may send nothing.
HEIDICON_IDLE_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


@dataclass
class ImportState:
    """Where an import stands. offset: of the next page. most, fewest: the totals that pages have reported."""

    offset: int = 0
    most: int = 0
    fewest: int | None = None

    @classmethod
    def restored(cls, checkpoint: Mapping[str, object] | None) -> "ImportState":
        """Return the state that was stored; a new one if there is none."""
        return cls(**cast("Mapping[str, int]", checkpoint or {}))

    def take(self, page: ObjectPage) -> None:
        """Take the total that a page reports. Objects can be added and deleted during the import."""
        self.most = max(self.most, page.total)
        self.fewest = page.total if self.fewest is None else min(self.fewest, page.total)


class HeidiconReader:
    """Reads tags of EasyDB instances. The source's address is the instance, and its set is the id of the tag."""

    def __init__(
        self, session: aiohttp.ClientSession, records: Records, metrics: TrainerMetrics, *, page_bytes: int
    ) -> None:
        self._session = session
        self._records = records
        self._metrics = metrics
        self._page_bytes = page_bytes

    async def read(self, reading: Reading, source: Source, progress: ReadingProgress) -> ReadResult:
        """Store one record for each object."""
        client = HeidiconClient(self._session, source.settings.url)
        tag, state = int(source.settings.set_spec or ""), ImportState.restored(reading.checkpoint)
        if reading.checkpoint is None:
            # Their order is that of HeidICON, which may have changed.
            await self._records.discard_all(reading)
        pages = _Pages(client, tag, self._page_bytes)
        while state.fewest is None or state.offset < state.most:
            offsets = [state.offset + number * PAGE_OBJECTS for number in range(PARALLEL_PAGES)]
            wanted = offsets[:1] if state.fewest is None else [each for each in offsets if each < state.most]
            found = await asyncio.gather(*(pages.read(offset) for offset in wanted))
            for page in found:
                state.take(page)
            state.offset = wanted[-1] + PAGE_OBJECTS
            records = [_record(client.instance, *entry) for page in found for entry in page.objects]
            await self._records.save(reading, records, asdict(state))
            self._metrics.records.labels("read").inc(len(records))
            progress.reading(min(state.offset, state.most), state.most)
        await self._check(reading, state)
        return ReadResult(state.most, complete=True)

    async def _check(self, reading: Reading, state: ImportState) -> None:
        objects = await self._records.count(reading)
        if state.fewest is not None and objects < state.fewest:
            reported = counted(state.fewest, "object")
            message = f"HeidICON reported {reported} but sent only {objects}. Read it again later."
            raise UpstreamFailed(message, code="heidicon_incomplete")


class _Pages:
    """The pages of one search. A page that fails is asked for again, in a new session."""

    def __init__(self, client: HeidiconClient, tag: int, max_bytes: int) -> None:
        self._client = client
        self._tag = tag
        self._max_bytes = max_bytes
        self._token: str | None = None
        self._parsing = asyncio.Lock()

    async def read(self, offset: int) -> ObjectPage:
        """Return a page. Raises ServiceError."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        for attempt in range(ATTEMPTS):
            try:
                return await self._page(offset)
            except ServiceError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                log.warning("heidicon_page_failed", offset=offset, reason=error.code)
                self._token = None
            await asyncio.sleep(backoff.delay())
        raise AssertionError("the last attempt returns or raises")

    async def _page(self, offset: int) -> ObjectPage:
        if self._token is None:
            self._token = await self._client.anonymous_token()
        search = self._client.search(
            self._token, self._tag, offset=offset, limit=PAGE_OBJECTS, max_bytes=self._max_bytes
        )
        async with search as chunks:
            body = b"".join([chunk async for chunk in chunks])
        async with self._parsing:
            return await asyncio.to_thread(parse_page, body, PAGE_OBJECTS, is_image_url)


def _record(instance: str, identifier: int, urls: list[str]) -> SourceRecord:
    page = f"{instance}/#/detail/{identifier}"
    images = [SourceImage(url, page) for url in urls]
    failure = None if images else RecordFailure("no_image", "The object has no image that may be downloaded.")
    return SourceRecord(str(identifier), images, failure)
