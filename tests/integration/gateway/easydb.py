"""A fake HeidICON: the part of EasyDB's API that is known, over real HTTP, with faults on demand."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "token-7"
PAGE = 1000
Fault = Callable[[web.Request, Any], web.StreamResponse | None]

TAGS = [
    {"_basetype": "tag", "tag": {"_id": 1, "displayname": {"de-DE": "Münzen", "en-US": "Coins"}}},
    {
        "_basetype": "taggroup",
        "taggroup": {"_id": 10, "displayname": {"de-DE": "Sammlungen"}},
        "_tags": [
            {"_basetype": "tag", "tag": {"_id": 2, "displayname": {"de-DE": "Karten"}}},
            {
                "_basetype": "taggroup",
                "_tags": [{"_basetype": "tag", "tag": {"_id": 3, "displayname": {"en-US": "Deep"}}}],
            },
        ],
    },
    {"_basetype": "tag", "tag": {"_id": 4, "displayname": {"de-DE": "Doppelt"}}},
    {"_basetype": "tag", "tag": {"_id": 5, "displayname": {"en-US": "Doppelt"}}},
    {"_basetype": "tag", "tag": {"_id": 6, "displayname": None}},
]


def version(url: str, **fields: Any) -> dict[str, Any]:
    """Make a usable version of an asset; `fields` override its defaults."""
    return {"status": "done", "download_url": url, "_not_allowed": False, **fields}


def thing(identifier: int, *assets: dict[str, Any]) -> dict[str, Any]:
    """Make an object with these assets, each given by its versions. Default: one asset with one image."""
    default = {"full": version(f"https://images.example.org/{identifier}/full,1.jpg")}
    return {
        "_system_object_id": identifier,
        "_objecttype": "objekte",
        "ressourcen": {"asset": [{"versions": versions} for versions in (assets or (default,))]},
    }


@dataclass
class EasyDb:
    """The data of the instance, its faults, and the searches that it received."""

    url: str = ""
    tags: Any = field(default_factory=lambda: TAGS)
    objects: list[Any] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    fault: Fault | None = None
    total: Callable[[int], int] | None = None
    wait: Callable[[str], Any] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        body = await request.json() if request.can_read_body else None
        if self.wait is not None:
            await self.wait(request.path)
        if self.fault is not None and (response := self.fault(request, body)) is not None:
            return response
        if request.path == "/api/session":
            return web.json_response({"token": TOKEN})
        if request.query.get("token") != TOKEN:
            return web.json_response({"code": "error.session"}, status=400)
        if request.path == "/api/session/authenticate":
            assert (request.method, request.query["method"]) == ("POST", "anonymous")
            return web.json_response({"authenticated": True})
        if request.path == "/api/tags":
            return web.json_response(self.tags)
        return self._search(body)

    def _search(self, body: Any) -> web.Response:
        self.searches.append(body)
        offset = body["offset"]
        found = self.objects[offset : offset + body["limit"]]
        total = len(self.objects) if self.total is None else self.total(offset)
        return web.json_response({"objects": found, "count": total, "limit": body["limit"], "offset": offset})


@asynccontextmanager
async def running_easydb() -> AsyncIterator[EasyDb]:
    """Serve a fake instance while entered."""
    instance = EasyDb()
    application = web.Application(client_max_size=2**20)
    application.router.add_route("*", "/{path:.*}", instance.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        instance.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield instance
    finally:
        await runner.cleanup()
