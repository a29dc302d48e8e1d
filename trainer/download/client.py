"""The downloader: one image from its URL, with limits on size, time, redirects and attempts, and a network guard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from catalog.image_versions import UNKNOWN, ImageVersion
from servicekit.backoff import Backoff
from servicekit.limits import ByteBudget
from servicekit.network_guard import checked_url, is_blocked, open_connector
from servicekit.telemetry.logs import get_logger
from servicekit.version import VERSION
from trainer.download.conditional import conditions, version_of
from trainer.download.connections import KeptConnections
from trainer.download.failures import (
    NO_RESPONSE,
    ImageFailed,
    Reason,
    failure_of_error,
    failure_of_status,
    seconds_to_wait,
)
from trainer.download.host_breaker import HostBreakers

log = get_logger(__name__)

# A body above SMALL_BYTES needs memory from a budget that all large bodies share.
SMALL_BYTES = 1024 * 1024
LARGE_BYTES = 128 * 1024 * 1024
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
OK, NOT_MODIFIED, TOO_MANY_REQUESTS, UNAVAILABLE = 200, 304, 429, 503
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {
    "User-Agent": f"similis/{VERSION}",
    "Accept": "image/*, */*;q=0.1",
    # Images are compressed already, and a second compression only makes their size harder to limit.
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True)
class DownloadLimits:
    """The limits of downloads. Times are in seconds; total_seconds covers all attempts at an image and their pauses."""

    max_bytes: int
    concurrency: int
    attempts: int
    max_redirects: int
    total_seconds: float
    connect_seconds: float
    read_seconds: float


@dataclass(frozen=True)
class Download:
    """The result of a download. body: the encoded image, None if it has not changed since the known version."""

    body: bytes | None
    version: ImageVersion


@dataclass(frozen=True)
class _Attempt:
    """One attempt at an image. memory: what its body holds of the budget, until closed."""

    version: ImageVersion
    retry: bool
    clock: asyncio.Timeout
    memory: AsyncExitStack


class Downloader:
    """Downloads images over one HTTP session."""

    def __init__(self, session: aiohttp.ClientSession, limits: DownloadLimits) -> None:
        self._session = session
        self._limits = limits
        self._breakers = HostBreakers()
        self._kept = KeptConnections()
        self._places = asyncio.Semaphore(limits.concurrency)
        self._large = ByteBudget(LARGE_BYTES)

    @classmethod
    @asynccontextmanager
    async def open(cls, limits: DownloadLimits, *, allow_private_addresses: bool) -> AsyncIterator["Downloader"]:
        """Open a downloader while entered."""
        async with aiohttp.ClientSession(
            connector=open_connector(allow_private_addresses=allow_private_addresses, limit=limits.concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_seconds, sock_read=limits.read_seconds
            ),
            trust_env=False,
        ) as session:
            yield cls(session, limits)

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
            yield await self._before_deadline(checked, version, memory)

    async def _before_deadline(self, url: URL, version: ImageVersion, memory: AsyncExitStack) -> Download:
        try:
            async with asyncio.timeout(self._limits.total_seconds) as clock:
                return await self._with_retries(url, version, clock, memory)
        except TimeoutError as error:
            detail = f"The download did not end within {self._limits.total_seconds:g} seconds."
            raise ImageFailed(Reason.TIMEOUT, detail) from error

    async def _with_retries(
        self, url: URL, version: ImageVersion, clock: asyncio.Timeout, memory: AsyncExitStack
    ) -> Download:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        attempts = 1
        while True:
            # A failed attempt gives its memory back before the next one.
            async with AsyncExitStack() as taken:
                try:
                    download = await self._follow_redirects(url, _Attempt(version, attempts > 1, clock, taken))
                except ImageFailed as failure:
                    pause = backoff.delay() if failure.retry_after is None else failure.retry_after
                    last = attempts == self._limits.attempts or failure.reason is Reason.HOST_UNAVAILABLE
                    if last or not failure.reason.is_transient or _ends_too_late(pause, clock):
                        raise
                else:
                    memory.push_async_exit(taken.pop_all())
                    return download
            await asyncio.sleep(pause)
            attempts += 1

    async def _follow_redirects(self, url: URL, attempt: _Attempt) -> Download:
        """Make one attempt. Each hop is a request of its own, so that no header leaks to another host."""
        # Only a direct response has a version: a redirect may lead to another image next time.
        version = attempt.version
        for hop in range(self._limits.max_redirects + 1):
            try:
                async with self._turn(url, attempt), self._response(url, version, attempt.clock) as response:
                    if response.status not in REDIRECTS:
                        return await self._result(response, version, attempt, direct=hop == 0)
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
    async def _turn(self, url: URL, attempt: _Attempt) -> AsyncIterator[None]:
        """Entered when the host and we are ready for a request. The wait does not count towards the image's time."""
        async with AsyncExitStack() as stack:
            async with _stopped(attempt.clock):
                await stack.enter_async_context(self._breakers.admit(url, retry=attempt.retry))
                await stack.enter_async_context(self._places)
            yield

    @asynccontextmanager
    async def _response(
        self, url: URL, version: ImageVersion, clock: asyncio.Timeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and read the response's head. What becomes of it also goes to the host's breaker."""
        try:
            response = await self._session.get(url, headers=self._headers(url, version), allow_redirects=False)
        except NO_RESPONSE as error:
            if not is_blocked(error) and not isinstance(error, aiohttp.ClientSSLError):
                self._breakers.silent(url)
            raise
        except asyncio.CancelledError:
            if clock.expired():
                self._breakers.silent(url)
            raise
        async with response:
            pause = _requested_pause(response)
            if pause is None:
                self._breakers.answered(url)
            else:
                self._breakers.asked_to_wait(url, pause)
            yield response

    def _headers(self, url: URL, version: ImageVersion) -> dict[str, str]:
        headers = conditions(version)
        return headers if self._kept.keeps(str(url.origin())) else headers | {"Connection": "close"}

    async def _result(
        self, response: aiohttp.ClientResponse, version: ImageVersion, attempt: _Attempt, *, direct: bool
    ) -> Download:
        if response.status == NOT_MODIFIED and version:
            return Download(None, version)
        body = await self._body(response, attempt)
        return Download(body, version_of(response) if direct else UNKNOWN)

    async def _body(self, response: aiohttp.ClientResponse, attempt: _Attempt) -> bytes:
        if response.status != OK:
            raise failure_of_status(response.status, response.headers.get("Retry-After"))
        if (response.content_length or 0) > self._limits.max_bytes:
            raise self._too_large()
        body = bytearray()
        small = True
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > self._limits.max_bytes:
                raise self._too_large()
            if small and len(body) > SMALL_BYTES:
                async with _stopped(attempt.clock):
                    size = response.content_length or self._limits.max_bytes
                    await attempt.memory.enter_async_context(self._large.reserved(size))
                small = False
        if not body:
            raise ImageFailed(Reason.NOT_AN_IMAGE, "The response is empty.")
        return bytes(body)

    def _too_large(self) -> ImageFailed:
        return ImageFailed(Reason.TOO_LARGE, f"The file has more than {self._limits.max_bytes} bytes.")


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


def _requested_pause(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds for which the host wants no requests; None if it asks for no pause."""
    pause = seconds_to_wait(response.headers.get("Retry-After"))
    if response.status == TOO_MANY_REQUESTS:
        return FIRST_PAUSE if pause is None else pause
    return pause if response.status == UNAVAILABLE else None


def _target(response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location")
    if not location:
        raise ImageFailed(Reason.HTTP_ERROR, f"The host redirects (HTTP status {response.status}) without a target.")
    return checked_url(location, base=response.url)


def _ends_too_late(pause: float, clock: asyncio.Timeout) -> bool:
    deadline = clock.when()
    return deadline is not None and asyncio.get_running_loop().time() + pause >= deadline
