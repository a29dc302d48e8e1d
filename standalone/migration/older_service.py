"""The public routes of the older service: which collections it has, and their content. Nothing is changed there."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from servicekit.process.service import StartupError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

CONNECT_SECONDS = 10.0
# The older service writes the whole CSV before it sends the first byte.
IDLE_SECONDS = 300.0
MAX_JSON_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
# Pauses before a request is repeated, after a failure that may pass.
PAUSES = (1.0, 5.0)
ROUTES = ("/api/collection/list", "/api/collection", "/api")


class OlderServiceError(Exception):
    """The older service returned no usable response. The message is for the operator."""


class _MayPass(OlderServiceError):
    """The same request may succeed later."""


@dataclass(frozen=True)
class OlderCollection:
    """A collection of the older service. row_count: its images; None if the service does not say."""

    id: int
    name: str
    heidicon_tag: str | None
    row_count: int | None
    was_finetuned: bool


class OlderService:
    """Reads one service. Every method raises OlderServiceError."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["OlderService"]:
        """Read the service at a URL while entered. Raises StartupError if it is not an http(s) URL."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            yield cls(session, base_address(url))

    async def names(self) -> dict[int, str]:
        """Return the name of each collection by its id, in the order of the ids."""
        found = await self._json("/api/collection/list")
        entries = found.get("names")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._not_as_expected("/api/collection/list", "no list “names”")
        names = {_id(entry.get("id")): str(entry.get("name") or "") for entry in entries}
        if None in names:
            raise self._not_as_expected("/api/collection/list", "an entry without an id")
        return {identifier: names[identifier] for identifier in sorted(filter(None, names))}

    async def collection(self, identifier: int, name: str) -> OlderCollection:
        """Return what is known about a collection. name: the one that the list has."""
        info = await self._json(f"/api/collection/{identifier}/info")
        count, tag = info.get("number_of_images"), info.get("heidicon_tag")
        return OlderCollection(
            id=identifier,
            name=name or str(info.get("name") or ""),
            heidicon_tag=str(tag).strip() or None if tag else None,
            row_count=count if isinstance(count, int) and not isinstance(count, bool) else None,
            was_finetuned=bool(info.get("last_finetuned")),
        )

    async def save_csv(self, identifier: int, target: Path) -> bytes:
        """Write the content of a collection to a file, and return its SHA-256."""

        async def save(response: aiohttp.ClientResponse) -> bytes:
            digest = hashlib.sha256()
            with target.open("wb") as file:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
            return digest.digest()

        return await self._get(f"/api/collection/{identifier}/csvfile", save)

    async def _json(self, path: str) -> dict[str, object]:
        async def read(response: aiohttp.ClientResponse) -> bytes:
            body = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_JSON_BYTES:
                    raise self._not_as_expected(path, f"more than {MAX_JSON_BYTES} bytes")
            return bytes(body)

        try:
            found = json.loads(await self._get(path, read))
        except (ValueError, RecursionError):
            raise self._not_as_expected(path, "no JSON") from None
        if not isinstance(found, dict):
            raise self._not_as_expected(path, "no JSON object")
        return found

    async def _get(self, path: str, read: Callable[[aiohttp.ClientResponse], Awaitable[bytes]]) -> bytes:
        for pause in PAUSES:
            try:
                return await self._attempt(path, read)
            except _MayPass as error:
                log.warning("migration_request_repeated", path=path, reason=str(error), seconds=pause)
                await asyncio.sleep(pause)
        return await self._attempt(path, read)

    async def _attempt(self, path: str, read: Callable[[aiohttp.ClientResponse], Awaitable[bytes]]) -> bytes:
        try:
            async with self._session.get(self.url + path) as response:
                if response.status >= 500 or response.status == 429:
                    raise _MayPass(f"{self.url}{path} returned status {response.status}")
                if response.status != 200:
                    raise OlderServiceError(f"{self.url}{path} returned status {response.status}")
                return await read(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or "timeout"
            raise _MayPass(f"{self.url}{path} could not be read: {reason}") from error

    def _not_as_expected(self, path: str, found: str) -> OlderServiceError:
        return OlderServiceError(f"{self.url} does not look like an older service: {path} returned {found}")


def base_address(url: str) -> str:
    """Return the part of a URL that comes before `/api`. Raises StartupError if it is not an http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise StartupError(
            f"{url!r} is not the address of a service. Give a URL such as https://similarity.example.org"
        )
    path = parts.path.rstrip("/")
    for route in ROUTES:
        path = path.removesuffix(route).rstrip("/")
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{path}"


def _id(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
