"""Downloads: one image from its URL, bounded in size, time, redirects and attempts, and guarded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from similis.servicekit.logs import get_logger
from similis.servicekit.network_guard import checked_url, open_connector
from similis.servicekit.version import VERSION
from similis.trainer.byte_budget import ByteBudget
from similis.trainer.download_errors import failure_of, refusal
from similis.trainer.failure import ImageFailed, Reason
from similis.trainer.patience import jittered

log = get_logger(__name__)

# A body that grows larger than this takes its size out of a budget that all large bodies share.
SMALL_BYTES = 1024 * 1024
LARGE_BYTES = 128 * 1024 * 1024
FIRST_PAUSE = 1.0
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


class Downloads:
    """Downloads images over one session."""

    def __init__(self, session: aiohttp.ClientSession, limits: DownloadLimits) -> None:
        self._session = session
        self._limits = limits
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
    async def image(self, url: str) -> AsyncIterator[bytes]:
        """The bytes at `url`, which count as held in memory while entered. Raises ImageFailed."""
        try:
            checked = checked_url(url)
        except ValueError as error:
            raise ImageFailed(Reason.INVALID_URL, str(error)) from error
        async with AsyncExitStack() as held:
            async with self._places:
                body = await self._before_deadline(checked, held)
            yield body

    async def _before_deadline(self, url: URL, held: AsyncExitStack) -> bytes:
        try:
            async with asyncio.timeout(self._limits.total_seconds) as clock:
                return await self._with_attempts(url, clock, held)
        except TimeoutError as error:
            raise ImageFailed(Reason.TIMEOUT, f"not done after {self._limits.total_seconds:g} s") from error

    async def _with_attempts(self, url: URL, clock: asyncio.Timeout, held: AsyncExitStack) -> bytes:
        pause = FIRST_PAUSE
        attempt = 1
        while True:
            # What a failed attempt held is given back before the next.
            async with AsyncExitStack() as holding:
                try:
                    body = await self._follow(url, clock, holding)
                except ImageFailed as failure:
                    wanted = jittered(pause) if failure.retry_after is None else failure.retry_after
                    if attempt == self._limits.attempts or not failure.reason.may_pass or _too_long(wanted, clock):
                        raise
                else:
                    held.push_async_exit(holding.pop_all())
                    return body
            await asyncio.sleep(wanted)
            attempt += 1
            pause *= 2

    async def _follow(self, url: URL, clock: asyncio.Timeout, held: AsyncExitStack) -> bytes:
        """One attempt. Each hop is a request of its own, so that nothing of ours is sent on to another host."""
        for _ in range(self._limits.max_redirects + 1):
            try:
                async with self._session.get(url, allow_redirects=False) as response:
                    if response.status not in REDIRECTS:
                        return await self._body(response, clock, held)
                    url = _target(response)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise failure_of(error) from error
            except ImageFailed:
                raise
            except Exception as error:
                # Whatever a host brings about in the client costs its own image only.
                log.error("download_failed", exc_info=error)
                raise ImageFailed(Reason.HTTP_ERROR, type(error).__name__) from error
        raise ImageFailed(Reason.TOO_MANY_REDIRECTS, f"more than {self._limits.max_redirects}")

    async def _body(self, response: aiohttp.ClientResponse, clock: asyncio.Timeout, held: AsyncExitStack) -> bytes:
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
                await self._turn(response.content_length or self._limits.max_bytes, clock, held)
                small = False
        if not body:
            raise ImageFailed(Reason.NOT_AN_IMAGE, "the answer is empty")
        return bytes(body)

    async def _turn(self, size: int, clock: asyncio.Timeout, held: AsyncExitStack) -> None:
        """Waits until there is memory for a large body; waiting for ourselves is not the host's time."""
        loop = asyncio.get_running_loop()
        began, deadline = loop.time(), clock.when()
        clock.reschedule(None)
        await held.enter_async_context(self._large.taken(size))
        if deadline is not None:
            clock.reschedule(deadline + loop.time() - began)

    def _too_large(self) -> ImageFailed:
        return ImageFailed(Reason.TOO_LARGE, f"more than {self._limits.max_bytes} bytes")


def _target(response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location")
    if not location:
        raise ImageFailed(Reason.HTTP_ERROR, f"status {response.status} without a location")
    return checked_url(location, base=response.url)


def _too_long(pause: float, clock: asyncio.Timeout) -> bool:
    deadline = clock.when()
    return deadline is not None and asyncio.get_running_loop().time() + pause >= deadline
