"""Documents of sources: downloaded under the network guard, at the pace of their host, and bounded in size."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import pydantic_core
from yarl import URL

from catalog.postgres.leased_queue import PacingHost
from servicekit.backoff import Backoff
from servicekit.download.client import Downloader
from servicekit.download.failures import TRANSIENT, ImageFailed, Reason
from servicekit.download.image_version import UNKNOWN, ImageVersion
from servicekit.telemetry.logs import get_logger
from trainer.sources.source_errors import invalid, too_large, unreachable

log = get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 4.0
# A host that sends a web page or a wrong certificate does so for longer than a reading waits.
WORTH_WAITING = TRANSIENT - {Reason.WEB_PAGE, Reason.TLS_ERROR}
# Values of a JSON document, counted by their separators. A value takes about 100 bytes of memory.
MAX_JSON_VALUES = 1_000_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

T = TypeVar("T")


@dataclass(frozen=True)
class Document(Generic[T]):
    """A parsed document. content: None if it has not changed since the known version."""

    content: T | None
    version: ImageVersion


class Documents:
    """Downloads documents and parses them, one at a time. A host that is down for a while ends no reading."""

    def __init__(self, downloader: Downloader, *, patience_seconds: float) -> None:
        """patience_seconds: for how long a failed download is repeated."""
        self._downloader = downloader
        self._patience_seconds = patience_seconds
        self._parsing = asyncio.Lock()

    async def read(
        self, url: str, parse: Callable[[bytes], T], *, version: ImageVersion = UNKNOWN, patient: bool = False
    ) -> Document[T]:
        """Download a document and parse it in a thread.

        version: the one that we have. patient: repeat what may pass. Raises ImageFailed, and what `parse` raises.
        """
        began, backoff = time.monotonic(), Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                # The memory of a large body is only free again when it has been parsed.
                async with self._downloader.download(url, version) as download:
                    if download.body is None:
                        return Document(None, download.version)
                    async with self._parsing:
                        return Document(await asyncio.to_thread(parse, download.body), download.version)
            except ImageFailed as failure:
                waited = time.monotonic() - began
                if not patient or failure.reason not in WORTH_WAITING or waited > self._patience_seconds:
                    raise
                log.warning("source_wait", reason=failure.reason.value)
                await asyncio.sleep(backoff.delay(failure.retry_after))

    async def require(self, url: str, parse: Callable[[bytes], T]) -> T:
        """Download a document that the reading cannot do without. Raises ServiceError."""
        try:
            document = await self.read(url, parse, patient=True)
        except ImageFailed as failure:
            if failure.reason is Reason.TOO_LARGE:
                raise too_large(url, failure.detail.rstrip(".")) from failure
            raise unreachable(url, failure) from failure
        if document.content is None:
            raise invalid(url, "the host sent no document")
        return document.content

    def paced_by(self, url: str) -> Sequence[PacingHost]:
        """Return the host of a URL if it gets fewer requests than we would send."""
        try:
            address = URL(url)
            held = self._downloader.held_hosts([f"{address.scheme}://{address.host}:{address.port}"])
        except ValueError:
            return ()
        return [PacingHost(host.host, host.why.value) for host in held]


def parse_json(url: str, body: bytes) -> object:
    """Parse a JSON document. Raises ServiceError for one that is not valid, too large or nested too deeply."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_JSON_VALUES:
        raise too_large(url, f"the document has more than {MAX_JSON_VALUES:,} values")
    text = body.removeprefix(BYTE_ORDER_MARK)
    try:
        found: object = pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
        kind = "a web page or XML" if text.lstrip()[:1] == b"<" else f"invalid JSON ({error})"
        raise invalid(url, f"expected a IIIF manifest or collection in JSON, found {kind}") from None
    return found
