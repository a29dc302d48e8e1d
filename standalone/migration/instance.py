"""The REST API of our own instance, which checks and stores the contents that are copied."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from servicekit.process.service import StartupError

CONNECT_SECONDS = 10.0
# More than the gateway's own deadline of an upload.
ANSWER_SECONDS = 300.0
# How often a request is repeated that the instance has no time for, and the longest pause that it may ask for.
ATTEMPTS = 10
MAX_PAUSE = 30.0
BUSY = (429, 503, 504)


class Refused(Exception):
    """The instance refused a request. The message is the one of its answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Stored:
    """A content that was stored. row_count: its images."""

    row_count: int
    warnings: list[str] = field(default_factory=list)


class Instance:
    """Calls one instance. Every method raises Refused, and StartupError if the instance is not responding."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, key: str) -> AsyncIterator["Instance"]:
        """Call the instance at a URL with an API key while entered."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers={"API-Key": key}) as session:
            yield cls(session, url.rstrip("/").removesuffix("/api"))

    async def check(self) -> None:
        """Raise StartupError unless the instance accepts the key, which is in the database of this command."""
        try:
            await self._post("/api/verify")
        except Refused as error:
            if error.code == "forbidden":
                raise StartupError(
                    f"the instance at {self._url} uses a different database from this command"
                ) from error
            raise StartupError(f"the instance at {self._url} cannot be used: {error}") from error

    async def upload(self, identifier: int, csv: Path) -> Stored:
        """Make a CSV the content of a collection."""
        return _stored(await self._post(f"/api/collection/{identifier}/updatecontent", csv))

    async def read_heidicon(self, identifier: int) -> Stored:
        """Have a collection with a HeidICON tag read its content."""
        return _stored(await self._post(f"/api/collection/{identifier}/updatecontent"))

    async def finetune(self, identifier: int) -> None:
        """Queue a finetune, unless nothing is new."""
        await self._post(f"/api/collection/{identifier}/finetune")

    async def _post(self, path: str, csv: Path | None = None) -> dict[str, object]:
        for _ in range(ATTEMPTS - 1):
            status, pause, answer = await self._attempt(path, csv)
            if status not in BUSY:
                break
            await asyncio.sleep(min(pause, MAX_PAUSE))
        else:
            status, _, answer = await self._attempt(path, csv)
        if status != 200:
            message = str(answer.get("message") or f"it returned status {status}")
            raise Refused(str(answer.get("code") or ""), message)
        return answer

    async def _attempt(self, path: str, csv: Path | None) -> tuple[int, float, dict[str, object]]:
        try:
            if csv is None:
                return await self._send(path, None)
            with csv.open("rb") as file:
                return await self._send(path, file)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or "timeout"
            raise StartupError(
                f"no instance is responding at {self._url}: {reason}. Start it, or set its address with --to"
            ) from error

    async def _send(self, path: str, body: object) -> tuple[int, float, dict[str, object]]:
        headers = {} if body is None else {"Content-Type": "text/csv"}
        async with self._session.post(self._url + path, data=body, headers=headers) as response:
            text = await response.text()
            retry_after = response.headers.get("Retry-After", "1")
            pause = float(retry_after) if retry_after.isdigit() else 1.0
            try:
                answer = json.loads(text)
            except ValueError:
                answer = None
            return response.status, pause, answer if isinstance(answer, dict) else {}


def _stored(answer: dict[str, object]) -> Stored:
    count, warnings = answer.get("number_of_images"), answer.get("warnings")
    return Stored(
        count if isinstance(count, int) else 0, [str(text) for text in warnings] if isinstance(warnings, list) else []
    )
