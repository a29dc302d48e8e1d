"""The older service: the routes that a migration reads, answered as it answers them, over real HTTP."""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class OldCollection:
    """A collection. rows: as the older service keeps them, each line cut at every comma."""

    name: str
    rows: list[list[str]] = field(default_factory=list)
    heidicon_tag: str | None = None
    last_finetuned: str | None = None


@dataclass
class Older:
    """The service. failures: how often it answers each path with 500 first. asked: the paths that were asked for."""

    url: str = ""
    collections: dict[int, OldCollection] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: dict[str, web.Response] = field(default_factory=dict)

    def upload(self, identifier: int, content: str) -> None:
        """Replace the content of a collection as the older service does."""
        lines = content.strip().split("\n")
        self.collections[identifier].rows = [[token.strip() for token in line.split(",")] for line in lines]

    async def answer(self, request: web.Request) -> web.Response:
        """Answer any request."""
        path = request.path
        assert request.method == "GET"
        self.asked.append(path)
        if self.failures.get(path, 0):
            self.failures[path] -= 1
            return web.Response(status=500, text="<h1>Internal Server Error</h1>", content_type="text/html")
        if path in self.answers:
            return self.answers[path]
        if path == "/api/collection/list":
            return web.json_response(self._list())
        _, _, _, identifier, action = path.split("/")
        found = self.collections.get(int(identifier))
        if found is None:
            return web.json_response({"message": "not found", "message_type": "error"}, status=400)
        return web.json_response(self._info(int(identifier), found)) if action == "info" else _csv(found)

    def _list(self) -> Any:
        names = [{"value": number, "id": number, "name": found.name} for number, found in self.collections.items()]
        return {"ids": list(self.collections), "names": names}

    def _info(self, identifier: int, found: OldCollection) -> Any:
        return {
            "id": identifier,
            "name": found.name,
            "heidicon_tag": found.heidicon_tag,
            "last_modified": "Mon, 23 Nov 2026 09:43:49 GMT",
            "last_finetuned": found.last_finetuned,
            "finetuning_progess": None,
            "number_of_images": len(found.rows),
            "requires_finetuning": found.last_finetuned is None,
        }


def _csv(found: OldCollection) -> web.Response:
    text = io.StringIO()
    csv.writer(text).writerows(found.rows)
    return web.Response(body=text.getvalue().encode(), content_type="text/csv")


@asynccontextmanager
async def running_older_service() -> AsyncIterator[Older]:
    """Serve while entered."""
    service = Older()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield service
    finally:
        await runner.cleanup()
