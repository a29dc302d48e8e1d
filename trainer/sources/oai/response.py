"""The responses of a repository (OAI-PMH 2.0, 3 and 4), as far as we read them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

from catalog.sources.records import RecordFailure, SourceRecord
from servicekit.errors import ServiceError
from trainer.sources.oai.bounded_xml import XmlInvalid, XmlRefused, read_elements
from trainer.sources.oai.formats import images_of
from trainer.sources.oai.mended_xml import mended
from trainer.sources.source_errors import invalid
from trainer.sources.source_text import record_identifier

OAI = "{http://www.openarchives.org/OAI/2.0/}"
NAMES = frozenset(
    f"{OAI}{name}" for name in ("responseDate", "error", "record", "resumptionToken", "granularity", "deletedRecord")
)
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
DAY = len("2026-01-31")
ROOT = re.compile(rb"<(?:\w+:)?OAI-PMH[\s>]")
# The root element stands at the beginning, after declarations and comments.
HEAD_BYTES = 64 * 1024


@dataclass
class Page:
    """A response. error: code and text, if it is one.

    token: asks for the next page; None: this is the last one. complete_size: the number of records in all pages.
    datestamps: of the records, in order. granularity, deleted_record: of an Identify response.
    """

    records: list[SourceRecord] = field(default_factory=list)
    datestamps: list[str] = field(default_factory=list)
    token: str | None = None
    complete_size: int | None = None
    response_date: str | None = None
    error: tuple[str, str] | None = None
    granularity: str | None = None
    deleted_record: str | None = None


def parse_page(url: str, body: bytes) -> Page:
    """Parse a response. Raises ServiceError, source_invalid."""
    if not ROOT.search(body[:HEAD_BYTES].replace(b"\x00", b"")):
        raise invalid(url, "the response is not an OAI-PMH 2.0 response; check the base URL")
    try:
        try:
            return _parsed(url, body)
        except XmlInvalid:
            better = mended(body)
            if better is None or better == body:
                raise
            return _parsed(url, better)
    except XmlRefused as error:
        raise invalid(url, str(error)) from None


def _parsed(url: str, body: bytes) -> Page:
    """Parse a response. Raises XmlRefused, and ServiceError if its elements are in no namespace, or another one."""
    page = Page()
    takers: dict[str, Callable[[Element], None]] = {
        "record": lambda element: _take_record(page, element),
        "resumptionToken": lambda element: _take_token(page, element),
        "error": lambda element: _take_error(page, element),
        "responseDate": lambda element: _take_date(page, element),
    }

    def keep(element: Element) -> None:
        name = element.tag.removeprefix(OAI)
        if name in takers:
            takers[name](element)
        elif name == "granularity":
            page.granularity = _text(element)
        elif name == "deletedRecord":
            page.deleted_record = _text(element)

    root = read_elements(body, NAMES, keep)
    if root != f"{OAI}OAI-PMH":
        namespace = root.rpartition("}")[0].lstrip("{")
        found = f"in the namespace “{namespace[:100]}”" if namespace else "in no namespace"
        raise invalid(url, f"the elements of the response are {found}; expected that of OAI-PMH 2.0, {OAI.strip('{}')}")
    return page


def _take_record(page: Page, element: Element) -> None:
    header = element.find(f"{OAI}header")
    name = None if header is None else _text(header.find(f"{OAI}identifier"))
    if header is None or not name:
        return
    identifier = record_identifier(name)
    page.datestamps.append(_text(header.find(f"{OAI}datestamp")) or "")
    if header.get("status", "").strip().lower() == "deleted":
        page.records.append(SourceRecord(identifier, deleted=True))
        return
    metadata = element.find(f"{OAI}metadata")
    described = None if metadata is None or not len(metadata) else metadata[0]
    page.records.append(_record(identifier, described))


def _record(identifier: str, described: Element | None) -> SourceRecord:
    if described is None:
        return SourceRecord(identifier, failure=RecordFailure("no_metadata", "The record has no metadata."))
    try:
        images = images_of(described)
    except ServiceError as error:
        return SourceRecord(identifier, failure=RecordFailure(error.code, error.message))
    if not images:
        return SourceRecord(identifier, failure=RecordFailure("no_image", "The record names no image."))
    return SourceRecord(identifier, images)


def _take_token(page: Page, element: Element) -> None:
    page.token = _text(element)
    size = element.get("completeListSize", "")
    page.complete_size = int(size) if re.fullmatch(r"[0-9]{1,12}", size, re.ASCII) else None


def _take_error(page: Page, element: Element) -> None:
    # A response may have several: noRecordsMatch and badResumptionToken say what to do next.
    if page.error is None or element.get("code") in ("noRecordsMatch", "badResumptionToken"):
        page.error = (element.get("code", "unknown"), (_text(element) or "")[:300])


def _take_date(page: Page, element: Element) -> None:
    page.response_date = _date(_text(element) or "")


def _date(text: str) -> str | None:
    """Return a date as requests may have it (OAI-PMH 2.0, 3.3): in UTC and in seconds, or in days."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if len(text) <= DAY:
        return text if DATE.fullmatch(text) else None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(element: Element | None) -> str | None:
    return (element.text or "").strip() or None if element is not None else None
