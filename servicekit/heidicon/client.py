"""The part of EasyDB's HTTP API that we use. Its URLs contain tokens, so they are never logged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from servicekit.errors import ServiceError, UpstreamFailed
from servicekit.heidicon.schema import bad_answer, parse_session, parse_tags
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

CHUNK_BYTES = 256 * 1024
MAX_SMALL_ANSWER_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0


class HeidiconClient:
    """Calls one instance. Every failure is an UpstreamFailed: heidicon_unavailable, heidicon_bad_answer."""

    def __init__(self, session: aiohttp.ClientSession, instance: str) -> None:
        self._session = session
        self.instance = instance

    async def anonymous_token(self) -> str:
        """Begin a session with the rights of the public, and return its token."""
        token = parse_session(await self._read("GET", "/api/session", {}))
        await self._read("POST", "/api/session/authenticate", {"token": token, "method": "anonymous"})
        return token

    async def tags(self, token: str) -> dict[int, set[str]]:
        """Return the display names of each tag by its id."""
        return parse_tags(await self._read("GET", "/api/tags", {"token": token}))

    @asynccontextmanager
    async def search(
        self, token: str, tag: int, *, offset: int, limit: int, max_bytes: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Request one page of the objects with a tag, and yield the chunks of its JSON."""
        query = {"type": "in", "bool": "must", "fields": ["_tags._id"], "in": [tag]}
        body = {"search": [query], "offset": offset, "limit": limit}
        async with self._answer("POST", "/api/search", {"token": token}, body) as response:
            yield _chunks(response, max_bytes)

    async def _read(self, method: str, path: str, query: dict[str, str]) -> bytes:
        async with self._answer(method, path, query, None) as response:
            return b"".join([chunk async for chunk in _chunks(response, MAX_SMALL_ANSWER_BYTES)])

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, query: dict[str, str], body: dict[str, object] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            # Redirects are not followed: they could lead anywhere, even into our own network.
            async with self._session.request(
                method, self.instance + path, params=query, json=body, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise bad_answer(f"{path}: status {response.status}")
                yield response
        except ServiceError:
            raise
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            # OSError includes TimeoutError.
            log.warning("heidicon_failed", path=path, error=type(error).__name__)
            message = "HeidICON could not be reached, or its response was cut off. Try again later."
            raise UpstreamFailed(message, code="heidicon_unavailable") from error


@asynccontextmanager
async def heidicon_session(idle_seconds: float) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP session while entered. It uses neither cookies nor proxies from the environment.

    idle_seconds: how long an answer may send nothing.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
    async with aiohttp.ClientSession(
        timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), raise_for_status=False
    ) as session:
        yield session


async def _chunks(response: aiohttp.ClientResponse, max_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise bad_answer(f"{response.url.path}: more than {max_bytes} bytes")
        yield chunk
