"""A thin client of the REST API."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)

    def refused(self, status: int, code: str) -> dict[str, Any]:
        """Assert that this is an error as the contract describes it, and return its body."""
        assert (self.status, self.json.get("code")) == (status, code), self.body
        assert self.headers["Content-Type"] == "application/problem+json"
        problem: dict[str, Any] = self.json
        assert set(problem) == {*("type", "title", "status", "detail", "code", "request_id", "message", "message_type")}
        assert problem["status"] == status
        assert problem["message_type"] == "error"
        assert problem["request_id"] == self.headers["X-Request-Id"]
        assert problem["title"]
        assert problem["detail"]
        assert ("Retry-After" in self.headers) == (status in (429, 503, 504))
        return problem

    def pushed(self) -> dict[str, Any]:
        """Assert that this is a success without data, and return its body."""
        assert self.status == 200, self.body
        assert self.json["message_type"] == "push"
        assert self.json["message"]
        found: dict[str, Any] = self.json
        return found


class Api:
    """Call a gateway. key: sent with every POST."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self.session = session
        self.url = url
        self.key = key

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request without a key."""
        if isinstance(options.get("data"), bytes):
            options["data"] = io.BytesIO(options["data"])
        if "json" in options:
            options["data"] = io.BytesIO(json.dumps(options.pop("json")).encode())
            options["headers"] = {"Content-Type": "application/json", **options.get("headers", {})}
        async with self.session.request(method, self.url + path, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, *, key: str | None = "", **options: Any) -> Answer:
        """Send a POST with a JSON body. key: another one than usual; None: no key."""
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers["API-Key"] = key or self.key
        if body is not None:
            options["json"] = body
        return await self.call("POST", path, headers=headers, **options)

    async def create(self, name: str = "coins") -> int:
        """Create a collection."""
        identifier: int = (await self.post("/api/collection/create", {"name": name})).pushed()["id"]
        return identifier

    async def upload(self, identifier: int, csv: bytes) -> Answer:
        """Upload a CSV as base64 in JSON."""
        content = base64.b64encode(csv).decode()
        return await self.post(f"/api/collection/{identifier}/updatecontent", {"content": content})

    async def upload_raw(self, identifier: int, csv: bytes, **options: Any) -> Answer:
        """Upload a CSV as the body itself."""
        headers = {"Content-Type": "text/csv", **options.pop("headers", {})}
        path = f"/api/collection/{identifier}/updatecontent"
        return await self.post(path, data=csv, headers=headers, **options)

    async def clear(self, identifier: int) -> Answer:
        """Remove all images of a collection."""
        return await self.post(f"/api/collection/{identifier}/updatecontent?allow_empty=true", {"content": ""})

    async def info(self, identifier: int) -> dict[str, Any]:
        answer = await self.get(f"/api/collection/{identifier}/info")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    async def csv(self, identifier: int) -> bytes:
        answer = await self.get(f"/api/collection/{identifier}/csvfile")
        assert answer.status == 200, answer.body
        return answer.body


@asynccontextmanager
async def api_client(url: str, key: str) -> AsyncIterator[Api]:
    """Yield a client."""
    async with aiohttp.ClientSession() as session:
        yield Api(session, url, key)


async def answered(call: Callable[[], Awaitable[Answer]], status: int, seconds: float = 60.0) -> Answer:
    """Repeat a call until it answers with a status."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await call()
            if answer.status == status:
                return answer
            await asyncio.sleep(0.05)
