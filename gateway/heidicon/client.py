"""The part of EasyDB's HTTP API that HeidICON is read through. Tokens are in addresses, so addresses are not logged."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from gateway.heidicon.schema import nonsense
from servicekit.errors import ServiceError, UpstreamFailed
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

CHUNK_BYTES = 256 * 1024
MAX_SMALL_ANSWER_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0

Json = object


class HeidiconClient:
    """Calls one instance. What goes wrong on the way is UpstreamFailed."""

    def __init__(self, session: aiohttp.ClientSession, instance: str) -> None:
        self._session = session
        self.instance = instance

    async def anonymous_token(self) -> str:
        """Begins a session that may read what the public may."""
        answer = await self._small("GET", "/api/session", {})
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise nonsense("a session without a token")
        await self._small("POST", "/api/session/authenticate", {"token": token, "method": "anonymous"})
        return token

    async def tags(self, token: str) -> Json:
        """The tree of tags, as it was sent."""
        return await self._small("GET", "/api/tags", {"token": token})

    @asynccontextmanager
    async def search(
        self, token: str, tag: int, *, offset: int, limit: int, max_bytes: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """One page of the objects that have a tag, as the bytes of its JSON."""
        query = {"type": "in", "bool": "must", "fields": ["_tags._id"], "in": [tag]}
        body = {"search": [query], "offset": offset, "limit": limit}
        async with self._answer("POST", "/api/search", {"token": token}, body) as response:
            yield _bounded(response, max_bytes)

    async def _small(self, method: str, path: str, query: dict[str, str]) -> Json:
        async with self._answer(method, path, query, None) as response:
            pieces = [piece async for piece in _bounded(response, MAX_SMALL_ANSWER_BYTES)]
        try:
            found: Json = json.loads(b"".join(pieces))
        except (ValueError, RecursionError):
            raise nonsense(f"{path} is not JSON") from None
        return found

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, query: dict[str, str], body: Json
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(
                method, self.instance + path, params=query, json=body, allow_redirects=False
            ) as response:
                # A redirect is not followed: it could lead to any address, also inside of our network.
                if response.status != 200:
                    raise nonsense(f"{path} with status {response.status}")
                yield response
        except ServiceError:
            raise
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            # TimeoutError is an OSError.
            log.warning("heidicon_failed", path=path, error=type(error).__name__)
            raise UpstreamFailed("HeidICON does not answer.", code="heidicon_unavailable") from error


@asynccontextmanager
async def heidicon_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to the instance while entered; proxies from the environment and cookies are not used."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
    async with aiohttp.ClientSession(
        timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), raise_for_status=False
    ) as session:
        yield session


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for piece in response.content.iter_chunked(CHUNK_BYTES):
        size += len(piece)
        if size > limit:
            raise nonsense(f"more than {limit} bytes")
        yield piece
