"""The reader of OAI-PMH sources: harvest all records, or those that have changed since the last harvest.

It follows the protocol's rules for harvesters (OAI-PMH 2.0, 2.7 and 3.5): the next harvest begins at the date of the
first response, and a list whose token was rejected is asked for again.
"""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from catalog.sources.readings import Reading
from catalog.sources.records import Records
from catalog.sources.sources import NewSource, Source
from servicekit.errors import ServiceError
from trainer.metrics import TrainerMetrics
from trainer.sources.documents import Documents
from trainer.sources.oai.harvest_state import HarvestState
from trainer.sources.oai.response import Page, parse_page
from trainer.sources.reader import ReadResult
from trainer.sources.reading_progress import ReadingProgress
from trainer.sources.source_errors import invalid, no_records, refused, shown, too_large

MAX_RECORDS = 5_000_000
# How often a repository may reject its tokens without sending later records in between.
MAX_REJECTED = 3
# A repository that does not remember deleted records is asked for everything this often.
WHOLE_EVERY = timedelta(days=7)
DAY = len("2026-01-31")


class OaiReader:
    """Harvests repositories."""

    def __init__(self, documents: Documents, records: Records, metrics: TrainerMetrics) -> None:
        self._documents = documents
        self._records = records
        self._metrics = metrics

    async def read(self, reading: Reading, source: Source, progress: ReadingProgress) -> ReadResult:
        """Store the records of a source. Continues where an earlier attempt has stopped."""
        settings = source.settings
        progress.paced_by = lambda: self._documents.paced_by(settings.url)
        if reading.checkpoint is None:
            state = await self._begin(reading, source)
        else:
            state = HarvestState.restored(reading.checkpoint)
        while True:
            await self._harvest(reading, settings, state, progress)
            if not await self._is_incomplete(reading, state):
                return ReadResult(state.done, complete=state.whole, changed_since=state.changed_since)
            state.start_over()

    async def _begin(self, reading: Reading, source: Source) -> HarvestState:
        identity = await self._page(source.settings, {"verb": "Identify"})
        if identity.error is not None:
            raise _refused(source.settings.url, identity.error)
        if reading.whole or source.changed_since is None or _needs_everything(source, identity):
            since = source.settings.from_date
            return HarvestState(whole=True, first_since=since, since=since)
        since = max(source.changed_since, source.settings.from_date or "")
        # Every repository understands days (OAI-PMH 2.0, 3.3.1).
        if identity.granularity != "YYYY-MM-DDThh:mm:ssZ":
            since = since[:DAY]
        return HarvestState(whole=False, first_since=since, since=since)

    async def _harvest(
        self, reading: Reading, settings: NewSource, state: HarvestState, progress: ReadingProgress
    ) -> None:
        seen: set[tuple[str | None, str, str]] = set()
        while True:
            page = await self._page(settings, _arguments(settings, state))
            if page.error is not None:
                if not _continues(settings, page.error, state):
                    return
                # The list may start over.
                seen.clear()
                continue
            _refuse_repetition(settings.url, page, seen)
            state.take(page)
            await self._records.save(reading, page.records, state.checkpoint())
            self._count(page)
            progress.reading(state.done, state.total)
            if state.done > MAX_RECORDS:
                raise too_large(settings.url, f"the repository has more than {MAX_RECORDS:,} records")
            if state.token is None:
                return

    async def _is_incomplete(self, reading: Reading, state: HarvestState) -> bool:
        """Return whether records are missing because the list was not in the order that it seemed to have."""
        if not (state.resumed and state.in_order and state.whole and state.total):
            return False
        return await self._records.count(reading) + state.deleted < state.total

    async def _page(self, settings: NewSource, arguments: dict[str, str]) -> Page:
        joint = "&" if "?" in settings.url else "?"
        url = f"{settings.url}{joint}{urlencode(arguments, quote_via=quote, safe='')}"
        return await self._documents.require(url, lambda body: parse_page(settings.url, body))

    def _count(self, page: Page) -> None:
        deleted = sum(1 for record in page.records if record.deleted)
        failed = sum(1 for record in page.records if record.failure is not None)
        self._metrics.records.labels("deleted").inc(deleted)
        self._metrics.records.labels("failed").inc(failed)
        self._metrics.records.labels("read").inc(len(page.records) - deleted - failed)


def _needs_everything(source: Source, identity: Page) -> bool:
    if identity.deleted_record == "persistent":
        return False
    return source.last_whole is None or datetime.now(UTC) - source.last_whole > WHOLE_EVERY


def _arguments(settings: NewSource, state: HarvestState) -> dict[str, str]:
    if state.token is not None:
        return {"verb": "ListRecords", "resumptionToken": state.token}
    arguments = {"verb": "ListRecords", "metadataPrefix": settings.metadata_prefix or "oai_dc"}
    if settings.set_spec:
        arguments["set"] = settings.set_spec
    if state.since:
        arguments["from"] = state.since
    return arguments


def _continues(settings: NewSource, error: tuple[str, str], state: HarvestState) -> bool:
    """Return whether the harvest goes on after an error of the repository. Raises ServiceError if it cannot."""
    code, url = error[0], settings.url
    if code == "noRecordsMatch":
        if state.whole and not state.done:
            within = f" in the set {shown(settings.set_spec)}" if settings.set_spec else ""
            since = f" since {settings.from_date}" if settings.from_date else ""
            raise no_records(url, f"{settings.metadata_prefix} records{within}{since}")
        return False
    if code != "badResumptionToken" or state.token is None or state.rejected == MAX_REJECTED:
        raise _refused(url, error)
    state.begin_list_again()
    return True


def _refuse_repetition(url: str, page: Page, seen: set[tuple[str | None, str, str]]) -> None:
    if not page.records:
        if page.token is not None and (page.token, "", "") in seen:
            raise invalid(url, "the repository keeps sending the same empty page")
        seen.add((page.token, "", ""))
        return
    mark = (page.token, page.records[0].identifier, page.records[-1].identifier)
    if page.token is not None and mark in seen:
        raise invalid(url, "the repository keeps sending the same page")
    seen.add(mark)


def _refused(url: str, error: tuple[str, str]) -> ServiceError:
    code, text = error
    said = f": {text.rstrip('.')}" if text else ""
    return refused(url, f"the repository answered with the error {code}{said}")
