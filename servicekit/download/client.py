"""The downloader: one image or document from its URL.

It limits size, time, redirects and attempts, and connects only where the network guard allows it.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import inf

import aiohttp
from yarl import URL

from servicekit.download.attempts import Attempt, Attempts
from servicekit.download.conditional import conditions, version_of
from servicekit.download.connections import KeptConnections
from servicekit.download.content_kind import IMAGES, Accepted
from servicekit.download.encoded_body import decoded, unasked_compression
from servicekit.download.failures import (
    NO_RESPONSE,
    ImageFailed,
    Reason,
    failure_of_error,
    failure_of_status,
    seconds_to_wait,
)
from servicekit.download.host_turns import HeldHost, HostTurns, Turn
from servicekit.download.image_version import UNKNOWN, ImageVersion
from servicekit.download.lenient_http import MAX_HEAD_BYTES, MAX_HEADERS, accept_lenient_responses
from servicekit.download.limits import DownloadLimits, DownloadRoute
from servicekit.download.name_lookup import open_resolver
from servicekit.download.visitor import Visitor
from servicekit.limits import ByteBudget
from servicekit.network_guard import check_name, is_blocked, open_connector
from servicekit.request_url import checked_url
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A body above SMALL_BYTES needs memory from a budget that all large bodies share.
SMALL_BYTES = 1024 * 1024
LARGE_BYTES = 128 * 1024 * 1024
# A body that comes more slowly, once this long has passed, is not waited for.
SLOWEST_BYTES_PER_SECOND, SETTLING_SECONDS = 256, 30.0
PARTIAL, NOT_MODIFIED, TOO_MANY_REQUESTS, UNAVAILABLE = 206, 304, 429, 503
# A host that has just made the image may answer with 201, a proxy that changed it with 203 (RFC 9110, 15.3).
COMPLETE = frozenset({200, 201, 203})
# Nobody asked for a part. Some hosts send the whole as one.
WHOLE_RANGE = re.compile(r"bytes 0-([0-9]{1,18})/([0-9]{1,18})")
SHOWN_CHARACTERS = 100
REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Download:
    """The result of a download. body: the encoded image, None if it has not changed since the known version.

    digest: of the body; None without one.
    """

    body: bytes | None
    version: ImageVersion
    digest: bytes | None = None


class Downloader:
    """Downloads images, or documents, over one HTTP session."""

    def __init__(
        self, session: aiohttp.ClientSession, limits: DownloadLimits, route: DownloadRoute, accepted: Accepted = IMAGES
    ) -> None:
        self._session = session
        self._accepted = accepted
        self._limits = limits
        self._route = route
        self._turns = HostTurns(per_host=limits.per_host, patience=limits.patience_seconds)
        self._kept = KeptConnections()
        self._places = asyncio.Semaphore(limits.concurrency)
        self._large = ByteBudget(LARGE_BYTES)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, limits: DownloadLimits, route: DownloadRoute, accepted: Accepted = IMAGES
    ) -> AsyncIterator["Downloader"]:
        """Open a downloader while entered."""
        async with AsyncExitStack() as stack:
            connector = open_connector(
                allow_private_addresses=route.allow_private_addresses,
                limit=limits.concurrency,
                tls=route.tls,
                proxied=route.proxy is not None,
                resolver=stack.enter_context(open_resolver(limits.concurrency)),
            )
            accept_lenient_responses(connector)
            session = _session(connector, route, accepted)
            yield cls(await stack.enter_async_context(session), limits, route, accepted)

    def places(self, origin: str) -> int:
        """Return how many downloads of a host to begin at a time. origin: `scheme://host:port`."""
        return self._turns.places(origin)

    def held_hosts(self, origins: Iterable[str]) -> list[HeldHost]:
        """Return which of these hosts set the pace, because they get fewer requests than we would send."""
        return self._turns.held(origins)

    @asynccontextmanager
    async def download(self, url: str, version: ImageVersion = UNKNOWN) -> AsyncIterator[Download]:
        """Download the image at `url`. Its memory counts as used while entered. Raises ImageFailed.

        version: the version that we have; the host does not send that one again.
        """
        try:
            checked = checked_url(url)
        except ValueError as error:
            raise ImageFailed(Reason.INVALID_URL, f"The URL is not valid: {error}.") from error
        async with AsyncExitStack() as memory:
            yield await self._with_retries(checked, version, memory)

    async def _with_retries(self, url: URL, version: ImageVersion, memory: AsyncExitStack) -> Download:
        visitor, attempts, retry = Visitor(), Attempts(self._limits), False
        while True:
            # A failed attempt gives its memory back before the next one.
            async with AsyncExitStack() as taken:
                attempt = Attempt(version, retry, asyncio.timeout(self._limits.total_seconds), taken)
                try:
                    download = await self._before_deadline(url, visitor, attempt)
                except ImageFailed as failure:
                    pause = attempts.pause_after(failure, attempt, visitor)
                    if pause is None:
                        raise
                else:
                    memory.push_async_exit(taken.pop_all())
                    return download
            await asyncio.sleep(pause)
            retry = True

    async def _before_deadline(self, url: URL, visitor: Visitor, attempt: Attempt) -> Download:
        try:
            async with attempt.clock:
                return await self._follow_redirects(url, visitor, attempt)
        except TimeoutError as error:
            detail = f"The download did not end within {self._limits.total_seconds:g} seconds."
            raise ImageFailed(Reason.TIMEOUT, detail) from error

    async def _follow_redirects(self, url: URL, visitor: Visitor, attempt: Attempt) -> Download:
        """Make one attempt. Each hop is a request of its own, so that no header leaks to another host."""
        # Only a direct response has a version: a redirect may lead to another image next time.
        version = attempt.version
        for hop in range(self._limits.max_redirects + 1):
            address, headers = visitor.address(url)
            headers |= conditions(version)
            try:
                async with (
                    self._turn(address, attempt) as turn,
                    self._response(address, headers, attempt, turn) as response,
                ):
                    visitor.read(response)
                    if response.status not in REDIRECTS:
                        return await self._result(response, version, attempt, turn, direct=hop == 0)
                    url, version = _target(response), UNKNOWN
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise failure_of_error(error) from error
            except ImageFailed:
                raise
            except Exception as error:
                # Whatever a host provokes in the HTTP client must cost its own image only.
                log.error("download_failed", exc_info=error)
                raise ImageFailed(Reason.HTTP_ERROR, "The host's response could not be processed.") from error
        limit = self._limits.max_redirects
        raise ImageFailed(Reason.TOO_MANY_REDIRECTS, f"The URL redirects more than {limit} times.")

    @asynccontextmanager
    async def _turn(self, url: URL, attempt: Attempt) -> AsyncIterator[Turn]:
        """Entered when the host and we are ready for a request. The wait does not count towards the image's time."""
        async with AsyncExitStack() as stack:
            async with _stopped(attempt.clock):
                turns = self._turns if self._limits.paced else HostTurns(per_host=1, patience=inf)
                turn = await stack.enter_async_context(turns.turn(_origin(url), retry=attempt.retry))
                await stack.enter_async_context(self._places)
                turn.begin_now()
            yield turn

    @asynccontextmanager
    async def _response(
        self, url: URL, headers: dict[str, str], attempt: Attempt, turn: Turn
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and read the response's head. What becomes of it also sets the host's pace."""
        if self._route.proxy is not None:
            await check_name(url.host or "", allow_private_addresses=self._route.allow_private_addresses)
        if not self._kept.keeps(str(url.origin())):
            headers |= {"Connection": "close"}
        try:
            response = await self._session.get(url, headers=headers, allow_redirects=False, timeout=self._timeout(turn))
        except NO_RESPONSE as error:
            if not is_blocked(error) and not isinstance(error, aiohttp.ClientSSLError):
                attempt.counts = turn.silent()
            raise
        except asyncio.CancelledError:
            if attempt.clock.expired():
                turn.silent()
            raise
        async with response:
            pause = seconds_to_wait(response.headers.get("Retry-After"))
            attempt.refused = response.status == TOO_MANY_REQUESTS or (
                response.status == UNAVAILABLE and pause is not None
            )
            if attempt.refused:
                turn.refused(pause)
            else:
                turn.answered(overloaded=response.status == UNAVAILABLE)
            yield response

    def _timeout(self, turn: Turn) -> aiohttp.ClientTimeout:
        limits = self._limits
        # A host that has never answered has had its time already.
        first_byte = min(limits.first_byte_seconds, limits.read_seconds) if turn.quick else limits.first_byte_seconds
        return aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_seconds, sock_read=first_byte)

    async def _result(
        self, response: aiohttp.ClientResponse, version: ImageVersion, attempt: Attempt, turn: Turn, *, direct: bool
    ) -> Download:
        if response.status == NOT_MODIFIED and version:
            return Download(None, version)
        if response.status not in COMPLETE and not _is_whole_range(response):
            raise failure_of_status(response.status, response.headers.get("Retry-After"))
        try:
            received = await self._body(response, attempt)
        except (TimeoutError, _TooSlow):
            turn.stalled()
            raise
        except asyncio.CancelledError:
            # Without this check, a job that is cancelled would count against the host.
            if attempt.clock.expired():
                turn.stalled()
            raise
        turn.ended_whole()
        encodings = response.headers.get("Content-Encoding", "")
        body = decoded(received, encodings, self._limits.max_bytes)
        if len(body) > self._limits.max_bytes:
            raise self._too_large()
        if not body:
            raise ImageFailed(Reason.HTTP_ERROR, "The response is empty.")
        if compression := unasked_compression(body, encodings):
            detail = f"The host compressed the image with {compression}, although nobody asked it to."
            raise ImageFailed(Reason.NOT_AN_IMAGE, detail)
        failure = self._accepted.refusal(body)
        if failure is not None:
            raise failure
        digest = hashlib.blake2b(body, digest_size=16).digest()
        return Download(body, version_of(response) if direct else UNKNOWN, digest)

    async def _body(self, response: aiohttp.ClientResponse, attempt: Attempt) -> bytes:
        if (response.content_length or 0) > self._limits.max_bytes:
            raise self._too_large()
        body = bytearray()
        small = True
        began = asyncio.get_running_loop().time()
        while piece := await self._piece(response):
            body += piece
            _require_pace(len(body), asyncio.get_running_loop().time() - began)
            if len(body) > self._limits.max_bytes:
                raise self._too_large()
            if small and len(body) > SMALL_BYTES:
                async with _stopped(attempt.clock):
                    size = response.content_length or self._limits.max_bytes
                    await attempt.memory.enter_async_context(self._large.reserved(size))
                small = False
        error = response.content.exception()
        if error is not None:
            raise error
        return bytes(body)

    async def _piece(self, response: aiohttp.ClientResponse) -> bytes:
        async with asyncio.timeout(self._limits.read_seconds):
            return await response.content.readany()

    def _too_large(self) -> ImageFailed:
        return ImageFailed(Reason.TOO_LARGE, f"The file has more than {self._limits.max_bytes} bytes.")


class _TooSlow(ImageFailed):
    """The body comes so slowly that the host holds us up rather than sends an image."""


def _require_pace(size: int, seconds: float) -> None:
    """Raise _TooSlow if `size` bytes are too few after `seconds`."""
    if seconds > SETTLING_SECONDS and size < SLOWEST_BYTES_PER_SECOND * seconds:
        detail = f"The host sent {size} bytes in {seconds:.0f} seconds."
        raise _TooSlow(Reason.TIMEOUT, detail)


@asynccontextmanager
async def _stopped(clock: asyncio.Timeout) -> AsyncIterator[None]:
    """Stop the clock while entered."""
    loop = asyncio.get_running_loop()
    began, deadline = loop.time(), clock.when()
    clock.reschedule(None)
    try:
        yield
    finally:
        if deadline is not None:
            clock.reschedule(deadline + loop.time() - began)


def _is_whole_range(response: aiohttp.ClientResponse) -> bool:
    found = WHOLE_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return response.status == PARTIAL and found is not None and int(found[1]) + 1 == int(found[2])


def _origin(url: URL) -> str:
    return f"{url.scheme}://{url.host}:{url.port}"


def _target(response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location")
    if not location:
        raise ImageFailed(Reason.HTTP_ERROR, f"The host redirects (HTTP status {response.status}) without a target.")
    try:
        return checked_url(location, base=response.url)
    except ValueError as error:
        shown = location if len(location) <= SHOWN_CHARACTERS else f"{location[:SHOWN_CHARACTERS]}…"
        raise ImageFailed(Reason.INVALID_URL, f"The host redirects to “{shown}”, but {error}.") from error


def _session(connector: aiohttp.BaseConnector, route: DownloadRoute, accepted: Accepted) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        # Each download keeps its own cookies.
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={**accepted.headers, "User-Agent": route.user_agent},
        # A body that is not compressed as its header says is still an image.
        auto_decompress=False,
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        max_headers=MAX_HEADERS,
        proxy=route.proxy,
        trust_env=False,
    )
