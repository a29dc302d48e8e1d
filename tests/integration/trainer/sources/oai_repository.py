"""A repository that speaks OAI-PMH 2.0 (3.5: flow control), which tests fill, change and break."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tests.loopback_site import running_site

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
    "<responseDate>{date}</responseDate><request>http://repository.example/oai</request>"
)
RECORD = (
    "<record><header><identifier>{identifier}</identifier><datestamp>{datestamp}</datestamp></header><metadata>"
    '<oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<dc:title>Leaf {number}</dc:title><dc:identifier>http://repository.example/entry/{number}</dc:identifier>"
    "<dc:identifier>http://images.example/{version}/{number}.jpg</dc:identifier>"
    "</oai_dc:dc></metadata></record>"
)
DELETED = (
    '<record><header status="deleted"><identifier>{identifier}</identifier>'
    "<datestamp>{datestamp}</datestamp></header></record>"
)
PER_SECOND = 10
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Record:
    """A record. seconds: its datestamp, after `BEGIN`."""

    number: int
    seconds: int
    version: int = 0
    deleted: bool = False

    @property
    def datestamp(self) -> str:
        return stamp(self.seconds)

    def xml(self) -> str:
        form = DELETED if self.deleted else RECORD
        identifier = f"oai:repository.example:{self.number}"
        return form.format(identifier=identifier, datestamp=self.datestamp, number=self.number, version=self.version)


@dataclass
class Repository:
    """A repository. Records are listed by datestamp unless `shuffled`.

    now: seconds after `BEGIN`. expired: tokens that it rejects, by the number of the page. refuse: how often it answers
    a page with 503 first. sent: how often each record was sent. pages: those that were sent, by first record.
    """

    records: dict[int, Record] = field(default_factory=dict)
    page_size: int = 100
    now: int = 10_000_000
    deleted_record: str = "persistent"
    granularity: str = "YYYY-MM-DDThh:mm:ssZ"
    expired: set[int] = field(default_factory=set)
    refuse: Counter[int] = field(default_factory=Counter)
    broken: dict[int, bytes] = field(default_factory=dict)
    sent: Counter[int] = field(default_factory=Counter)
    requests: list[dict[str, str]] = field(default_factory=list)
    same_token: bool = False
    newest_first: bool = False
    port: int = 0
    _listed: tuple[str | None, int, list[Record]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/oai"

    def fill(self, count: int) -> None:
        """Add records, `PER_SECOND` for each second."""
        self.records = {number: Record(number, number // PER_SECOND) for number in range(count)}
        self._listed = None

    def change(self, numbers: range, *, deleted: bool = False) -> None:
        """Change records now."""
        self.now += 1000
        for number in numbers:
            self.records[number] = Record(number, self.now, version=self.now, deleted=deleted)

    def listed(self, since: str | None) -> list[Record]:
        """Return the records since a date, in their order. They stay the same until the repository changes."""
        if self._listed is not None and self._listed[:2] == (since, self.now):
            return self._listed[2]
        found = self._sorted(since)
        self._listed = (since, self.now, found)
        return found

    def _sorted(self, since: str | None) -> list[Record]:
        found = [record for record in self.records.values() if since is None or record.datestamp >= since]
        return sorted(found, key=lambda record: (record.seconds, record.number), reverse=self.newest_first)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        arguments = dict(request.query)
        self.requests.append(arguments)
        if arguments["verb"] == "Identify":
            return self._xml(
                f"<Identify><granularity>{self.granularity}</granularity>"
                f"<deletedRecord>{self.deleted_record}</deletedRecord></Identify>"
            )
        since, page = arguments.get("from"), 0
        if token := arguments.get("resumptionToken"):
            since, _, number = token.rpartition("|")
            since, page = since or None, int(number)
            if page in self.expired:
                self.expired.remove(page)
                return self._xml('<error code="badResumptionToken">The token has expired.</error>')
        if self.refuse[page] > 0:
            self.refuse[page] -= 1
            return web.Response(status=503, headers={"Retry-After": "1"})
        if page in self.broken:
            headers = {"Content-Encoding": "gzip"} if self.broken[page].startswith(b"\x1f\x8b") else {}
            return web.Response(body=self.broken[page], headers=headers, content_type="text/xml")
        return self._page(since, page)

    def _page(self, since: str | None, page: int) -> web.Response:
        listed = self.listed(since)
        if not listed:
            return self._xml('<error code="noRecordsMatch">There are no such records.</error>')
        records = listed[page * self.page_size : (page + 1) * self.page_size]
        self.sent.update(record.number for record in records)
        more = (page + 1) * self.page_size < len(listed)
        following = page if self.same_token else page + 1
        token = f"{since or ''}|{following}" if more else ""
        body = "".join(record.xml() for record in records)
        size = f'completeListSize="{len(listed)}" cursor="{page * self.page_size}"'
        return self._xml(f"<ListRecords>{body}<resumptionToken {size}>{token}</resumptionToken></ListRecords>")

    def _xml(self, text: str) -> web.Response:
        body = f"{HEAD.format(date=stamp(self.now))}{text}</OAI-PMH>"
        return web.Response(body=body.encode(), content_type="text/xml")


def stamp(seconds: int) -> str:
    """Return a datestamp, in seconds after `BEGIN`."""
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@asynccontextmanager
async def running_repository() -> AsyncIterator[Repository]:
    """Run an empty repository on a loopback port while entered."""
    repository = Repository()
    application = web.Application()
    application.router.add_get("/oai", repository.answer)
    async with running_site(application) as repository.port:
        yield repository
