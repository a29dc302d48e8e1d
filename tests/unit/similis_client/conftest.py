"""A service that answers what a test tells it to, over real HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict


@dataclass(frozen=True)
class Received:
    """A request."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass
class Service:
    """Answers requests in the order of `answers`; the last one is repeated."""

    answers: list[web.Response] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    url: str = ""

    def answer(self, body: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Add an answer in JSON."""
        self.answers.append(web.json_response(body, status=status, headers=headers))

    def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        """Add an answer that describes an error."""
        problem = {"status": status, "code": code, "detail": f"{code} happened", "request_id": "r1", "message": "short"}
        self.answer(problem, status, headers)

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append(
            Received(request.method, request.path_qs, CIMultiDict(request.headers), await request.read())
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        # A response object can be sent once only.
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", service.handle)
    async with TestServer(app) as server:
        service.url = str(server.make_url("")).rstrip("/")
        yield service
