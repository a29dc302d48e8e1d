"""A reading of a source: read all records, then make their images the content of the collection."""

from collections.abc import Mapping
from dataclasses import dataclass

from catalog.postgres.leased_queue import lease_lost
from catalog.sources.readings import Difference, Reading, Readings
from catalog.sources.records import Records
from catalog.sources.sources import Source, Sources, SourceType
from servicekit.process.fault_points import FaultPoint
from servicekit.telemetry.logs import get_logger
from trainer.jobs.places import Place
from trainer.jobs.retry import Retry
from trainer.jobs.worker import JobKind
from trainer.sources.reader import Reader, ReadResult
from trainer.sources.reading_progress import ReadingProgress
from trainer.sources.source_errors import empty
from trainer.sources.staging import staged_content

log = get_logger(__name__)

KIND = JobKind(
    name="source_reading",
    failed="The source could not be read.",
    retry_later="Read it again later. The content stays as it was.",
)


@dataclass(frozen=True)
class SourceStores:
    """The stores that a reading reads and writes. All retry their calls."""

    sources: Sources
    readings: Readings
    records: Records


class SourceReading:
    """Runs claimed readings."""

    def __init__(
        self, stores: SourceStores, readers: Mapping[SourceType, Reader], retry: Retry, *, max_images: int
    ) -> None:
        self._stores = stores
        self._retry = retry
        self._readers = readers
        self._max_images = max_images

    def progress_of(self, reading: Reading) -> ReadingProgress:
        """Return the progress of an attempt that begins."""
        return ReadingProgress(reading.progress)

    async def run(self, reading: Reading, progress: ReadingProgress, place: Place) -> None:
        """Return once the content is stored. Raises LeaseLost, or the ServiceError that ends the reading."""
        source = await self._stores.sources.find(reading.collection_id)
        if source is None:
            raise lease_lost(reading)
        async with place.lent_while_waiting(lambda: progress.counts):
            result = await self._readers[source.settings.type].read(reading, source, progress)
        if result.warnings:
            await self._stores.readings.warn(reading, list(result.warnings))
        progress.storing()
        if result.complete:
            if not await self._stores.records.has_images(reading):
                raise empty(source.settings.url, result.records)
            await self._stores.records.discard_others(reading)
        difference = await self._retry.call(self._store, reading, source, result)
        log.info(
            "source_read",
            records=result.records,
            added=difference.added,
            changed=difference.changed,
            removed=difference.removed,
        )

    async def _store(self, reading: Reading, source: Source, result: ReadResult) -> Difference:
        url = source.settings.url
        async with staged_content(self._stores.records, reading, url, max_images=self._max_images) as staged:
            FaultPoint.CONTENT_STAGED.reach()
            return await self._stores.readings.finish(
                reading, staged, changed_since=result.changed_since, whole=result.complete
            )
