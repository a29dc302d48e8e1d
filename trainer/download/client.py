"""Downloads: one image from its URL, bounded in size, time, redirects and attempts, and guarded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from catalog.image_versions import UNKNOWN, ImageVersion
from servicekit.limits import ByteBudget
from servicekit.network_guard import checked_url, is_blocked, open_connector
from servicekit.telemetry.logs import get_logger
from servicekit.version import VERSION
from trainer.download.connections import KeptConnections
from trainer.download.download_errors import SILENCE, failure_of, refusal, seconds_to_wait
from trainer.download.failures import ImageFailed, Reason
from trainer.download.host_breaker import Hosts
from trainer.jobs.retry import jittered

log = get_logger(__name__)

# A body that grows larger than this takes its size out of a budget that all large bodies share.
SMALL_BYTES = 1024 * 1024
LARGE_BYTES = 128 * 1024 * 1024
FIRST_PAUSE = 1.0
NOT_MODIFIED = 304
TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
VALIDATOR_CHARACTERS = 200
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {
    "User-Agent": f"similis/{VERSION}",
    "Accept": "image/*, */*;q=0.1",
    # Images are compressed already; what is compressed again is only harder to bound.
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True)
class DownloadLimits:
    """Times are in seconds. total_seconds: for one image, attempts and pauses together."""

    max_bytes: int
    concurrency: int
    attempts: int
    max_redirects: int
    total_seconds: float
    connect_seconds: float
    read_seconds: float


@dataclass(frozen=True)
class Download:
    """What a host answered: an encoded image, or None where it is the version that was known."""

    body: bytes | None
    version: ImageVersion


@dataclass(frozen=True)
class _Attempt:
    """One attempt at an image. held: what the body holds of our memory, until that is closed."""

    known: ImageVersion
    again: bool
    clock: asyncio.Timeout
    held: AsyncExitStack


class Downloads:
    """Downloads images over one session."""

    def __init__(self, session: aiohttp.ClientSession, limits: DownloadLimits) -> None:
        self._session = session
        self._limits = limits
        self._hosts = Hosts()
        self._kept = KeptConnections()
        self._places = asyncio.Semaphore(limits.concurrency)
        self._large = ByteBudget(LARGE_BYTES)

    @classmethod
    @asynccontextmanager
    async def open(cls, limits: DownloadLimits, *, allow_private_addresses: bool) -> AsyncIterator["Downloads"]:
        """Downloads while entered."""
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
    async def image(self, url: str, known: ImageVersion = UNKNOWN) -> AsyncIterator[Download]:
        """The image at `url`, which counts as held in memory while entered. Raises ImageFailed.

        known: the version that we have; its bytes are not sent again.
        """
        try:
            checked = checked_url(url)
        except ValueError as error:
            raise ImageFailed(Reason.INVALID_URL, str(error)) from error
        async with AsyncExitStack() as held:
            yield await self._before_deadline(checked, known, held)

    async def _before_deadline(self, url: URL, known: ImageVersion, held: AsyncExitStack) -> Download:
        try:
            async with asyncio.timeout(self._limits.total_seconds) as clock:
                return await self._with_attempts(url, known, clock, held)
        except TimeoutError as error:
            raise ImageFailed(Reason.TIMEOUT, f"not done after {self._limits.total_seconds:g} s") from error

    async def _with_attempts(
        self, url: URL, known: ImageVersion, clock: asyncio.Timeout, held: AsyncExitStack
    ) -> Download:
        pause = FIRST_PAUSE
        attempt = 1
        while True:
            # What a failed attempt held is given back before the next.
            async with AsyncExitStack() as holding:
                try:
                    download = await self._follow(url, _Attempt(known, attempt > 1, clock, holding))
                except ImageFailed as failure:
                    wanted = jittered(pause) if failure.retry_after is None else failure.retry_after
                    last = attempt == self._limits.attempts or failure.reason is Reason.HOST_UNAVAILABLE
                    if last or not failure.reason.may_pass or _too_long(wanted, clock):
                        raise
                else:
                    held.push_async_exit(holding.pop_all())
                    return download
            await asyncio.sleep(wanted)
            attempt += 1
            pause *= 2

    async def _follow(self, url: URL, attempt: _Attempt) -> Download:
        """One attempt. Each hop is a request of its own, so that nothing of ours is sent on to another host."""
        # What was behind a redirect may not be what is behind it now, so only a direct answer has a version.
        known = attempt.known
        for hop in range(self._limits.max_redirects + 1):
            try:
                async with self._turn(url, attempt), self._asked(url, known, attempt.clock) as response:
                    if response.status not in REDIRECTS:
                        return await self._answer(response, known, attempt, direct=hop == 0)
                    url, known = _target(response), UNKNOWN
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise failure_of(error) from error
            except ImageFailed:
                raise
            except Exception as error:
                # Whatever a host brings about in the client costs its own image only.
                log.error("download_failed", exc_info=error)
                raise ImageFailed(Reason.HTTP_ERROR, type(error).__name__) from error
        raise ImageFailed(Reason.TOO_MANY_REDIRECTS, f"more than {self._limits.max_redirects}")

    @asynccontextmanager
    async def _turn(self, url: URL, attempt: _Attempt) -> AsyncIterator[None]:
        """Entered when the host and we are ready for a request; waiting for that takes nothing of the image's time."""
        async with AsyncExitStack() as stack:
            async with _stopped(attempt.clock):
                await stack.enter_async_context(self._hosts.turn(url, again=attempt.again))
                await stack.enter_async_context(self._places)
            yield

    @asynccontextmanager
    async def _asked(
        self, url: URL, known: ImageVersion, clock: asyncio.Timeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's head, which says something about the host too."""
        try:
            response = await self._session.get(url, headers=self._headers(url, known), allow_redirects=False)
        except SILENCE as error:
            if not is_blocked(error) and not isinstance(error, aiohttp.ClientSSLError):
                self._hosts.found_silent(url)
            raise
        except asyncio.CancelledError:
            if clock.expired():
                self._hosts.found_silent(url)
            raise
        async with response:
            pause = _asked_pause(response)
            if pause is None:
                self._hosts.answered(url)
            else:
                self._hosts.asked_to_wait(url, pause)
            yield response

    def _headers(self, url: URL, known: ImageVersion) -> dict[str, str]:
        headers = _conditions(known)
        return headers if self._kept.keeps(str(url.origin())) else headers | {"Connection": "close"}

    async def _answer(
        self, response: aiohttp.ClientResponse, known: ImageVersion, attempt: _Attempt, *, direct: bool
    ) -> Download:
        if response.status == NOT_MODIFIED and known:
            return Download(None, known)
        body = await self._body(response, attempt)
        return Download(body, _version(response) if direct else UNKNOWN)

    async def _body(self, response: aiohttp.ClientResponse, attempt: _Attempt) -> bytes:
        if response.status != 200:
            raise refusal(response.status, response.headers.get("Retry-After"))
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
                    await attempt.held.enter_async_context(self._large.reserved(size))
                small = False
        if not body:
            raise ImageFailed(Reason.NOT_AN_IMAGE, "the answer is empty")
        return bytes(body)

    def _too_large(self) -> ImageFailed:
        return ImageFailed(Reason.TOO_LARGE, f"more than {self._limits.max_bytes} bytes")


@asynccontextmanager
async def _stopped(clock: asyncio.Timeout) -> AsyncIterator[None]:
    """The time while entered does not count."""
    loop = asyncio.get_running_loop()
    began, deadline = loop.time(), clock.when()
    clock.reschedule(None)
    try:
        yield
    finally:
        if deadline is not None:
            clock.reschedule(deadline + loop.time() - began)


def _asked_pause(response: aiohttp.ClientResponse) -> float | None:
    """The seconds for which the host wants no requests; None where the answer is about the image alone."""
    pause = seconds_to_wait(response.headers.get("Retry-After"))
    if response.status == TOO_MANY_REQUESTS:
        return FIRST_PAUSE if pause is None else pause
    return pause if response.status == UNAVAILABLE else None


def _conditions(known: ImageVersion) -> dict[str, str]:
    """The headers that ask for another version only. The date is the weaker one (RFC 9110, 13.1.3)."""
    if known.etag is not None:
        return {"If-None-Match": known.etag}
    if known.last_modified is not None:
        return {"If-Modified-Since": known.last_modified}
    return {}


def _version(response: aiohttp.ClientResponse) -> ImageVersion:
    return ImageVersion(_validator(response, "ETag"), _validator(response, "Last-Modified"))


def _validator(response: aiohttp.ClientResponse, header: str) -> str | None:
    """A header that can be kept and sent back; None where it is absent or odd."""
    value = response.headers.get(header, "")
    usable = value.isascii() and value.isprintable() and 0 < len(value) <= VALIDATOR_CHARACTERS
    return value if usable else None


def _target(response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location")
    if not location:
        raise ImageFailed(Reason.HTTP_ERROR, f"status {response.status} without a location")
    return checked_url(location, base=response.url)


def _too_long(pause: float, clock: asyncio.Timeout) -> bool:
    deadline = clock.when()
    return deadline is not None and asyncio.get_running_loop().time() + pause >= deadline
