"""The reader of IIIF sources: list the manifests, and read those that have changed."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from catalog.sources.readings import Reading
from catalog.sources.records import KnownRecord, RecordFailure, Records, SourceRecord
from catalog.sources.sources import Source
from servicekit.download.failures import ImageFailed
from servicekit.download.image_version import UNKNOWN, ImageVersion
from servicekit.errors import ServiceError, UpstreamFailed
from servicekit.quantities import counted
from trainer.metrics import TrainerMetrics
from trainer.sources.documents import Documents, parse_json
from trainer.sources.iiif.change_discovery import ActivityStream, read_changes, stream_of
from trainer.sources.iiif.presentation import CollectionPage, Manifest, parse
from trainer.sources.iiif.traversal import Listing, list_manifests
from trainer.sources.reader import ReadResult
from trainer.sources.reading_progress import ReadingProgress
from trainer.sources.source_errors import invalid, shown
from trainer.sources.source_text import record_identifier

# Manifests that are stored at a time, and so the most that are read again after a kill.
BATCH = 32
PARALLEL = 8
# A reading in which more than this share of the manifests failed does not replace the content.
MAX_FAILED_SHARE = 0.5


class IiifReader:
    """Reads manifests and collections of manifests."""

    def __init__(self, documents: Documents, records: Records, metrics: TrainerMetrics) -> None:
        self._documents = documents
        self._records = records
        self._metrics = metrics

    async def read(self, reading: Reading, source: Source, progress: ReadingProgress) -> ReadResult:
        """Store the records of a source, one for each manifest."""
        url = source.settings.url
        progress.paced_by = lambda: self._documents.paced_by(url)
        first = await self._documents.require(url, lambda body: _root(url, body))
        if isinstance(first, ActivityStream):
            return await self._read_stream(reading, source, first, progress)
        listing = await list_manifests(self._documents, url, first, progress.listing)
        await self._read_all(reading, url, list(listing.manifests), progress)
        await self._records.save(reading, listing.failed, {})
        # The manifests of a collection that could not be read are not gone.
        return ReadResult(len(listing.manifests), complete=not listing.failed, warnings=_warnings(listing))

    async def _read_stream(
        self, reading: Reading, source: Source, stream: ActivityStream, progress: ReadingProgress
    ) -> ReadResult:
        """Read the manifests that a stream of activities names, or those that were changed since the last reading."""
        since = None if reading.whole else source.changed_since
        changes = await read_changes(self._documents, source.settings.url, stream, since)
        await self._read_all(reading, source.settings.url, list(changes.written), progress)
        gone = [SourceRecord(record_identifier(address), deleted=True) for address in changes.gone]
        await self._records.save(reading, gone, {})
        latest = changes.latest or source.changed_since
        return ReadResult(len(changes.written), complete=since is None, changed_since=latest)

    async def _read_all(
        self, reading: Reading, source: str, manifests: Sequence[str], progress: ReadingProgress
    ) -> None:
        """Read manifests, except for those that this reading has met. Raises ServiceError if most of them failed."""
        failures = Counter[str]()
        for start in range(0, len(manifests), BATCH):
            progress.reading(start, len(manifests))
            batch = manifests[start : start + BATCH]
            known = await self._records.known(reading.collection_id, [record_identifier(url) for url in batch])
            met = {identifier for identifier, record in known.items() if record.reading_id == reading.id}
            missing = [url for url in batch if record_identifier(url) not in met]
            records = await self._read_batch(reading, missing, known)
            await self._records.save(reading, records, {})
            failures.update(record.failure.reason for record in records if record.failure is not None)
        progress.reading(len(manifests), len(manifests))
        _check_failures(source, failures, len(manifests))

    async def _read_batch(
        self, reading: Reading, urls: Sequence[str], known: dict[str, KnownRecord]
    ) -> list[SourceRecord]:
        places = asyncio.Semaphore(PARALLEL)

        async def one(url: str) -> SourceRecord:
            async with places:
                version = UNKNOWN if reading.whole else _version(known.get(record_identifier(url)))
                return await self._record(url, version)

        return list(await asyncio.gather(*(one(url) for url in urls)))

    async def _record(self, url: str, version: ImageVersion) -> SourceRecord:
        identifier = record_identifier(url)
        try:
            document = await self._documents.read(url, lambda body: _manifest(url, body), version=version)
        except ImageFailed as failure:
            self._metrics.records.labels("failed").inc()
            # Images of a manifest that may come back stay.
            images = None if failure.reason.is_transient else ()
            return SourceRecord(identifier, images, RecordFailure(failure.reason.value, failure.detail))
        except ServiceError as error:
            self._metrics.records.labels("failed").inc()
            return SourceRecord(identifier, (), RecordFailure(error.code, error.message))
        etag, last_modified = document.version.etag, document.version.last_modified
        manifest = document.content
        self._metrics.records.labels("unchanged" if manifest is None else "read").inc()
        if manifest is None:
            return SourceRecord(identifier, None, etag=etag, last_modified=last_modified)
        if not manifest.images:
            detail = "None of the manifest's canvases has an image." if manifest.canvases else "It has no canvases."
            return SourceRecord(identifier, (), RecordFailure("no_image", detail))
        return SourceRecord(identifier, manifest.images, etag=etag, last_modified=last_modified)


def _root(url: str, body: bytes) -> ActivityStream | Manifest | CollectionPage:
    document = parse_json(url, body)
    return stream_of(document) or parse(url, document)


def _manifest(url: str, body: bytes) -> Manifest:
    found = parse(url, parse_json(url, body))
    if not isinstance(found, Manifest):
        raise invalid(url, "expected a IIIF manifest, found a collection")
    return found


def _version(record: KnownRecord | None) -> ImageVersion:
    return UNKNOWN if record is None else ImageVersion(record.etag, record.last_modified)


def _check_failures(url: str, failures: Counter[str], manifests: int) -> None:
    failed = failures.total() - failures["no_image"]
    if failed > MAX_FAILED_SHARE * manifests:
        reasons = ", ".join(f"{reason} ({number})" for reason, number in failures.most_common(3))
        message = f"{shown(url)}: {failed} of {counted(manifests, 'manifest')} could not be read: {reasons}."
        raise UpstreamFailed(message, code="source_unreachable")


def _warnings(listing: Listing) -> list[str]:
    if not listing.failed:
        return []
    number = counted(len(listing.failed), "collection")
    return [f"{number} in this source could not be read. Images from earlier readings are kept."]
