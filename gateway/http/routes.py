"""Every route: its path, who may call it, how long it may take, and what answers it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.collections.handlers import CollectionHandlers
from gateway.collections.status_handlers import StatusHandlers
from gateway.content.handlers import ContentHandlers
from gateway.http.access import Access
from gateway.http.body import expect_nothing
from gateway.search.handlers import SearchHandlers
from gateway.upstreams.schema_wait import SchemaWait
from servicekit.errors import DeadlineExceeded
from servicekit.request_context import request_id, request_scope


@dataclass(frozen=True)
class Route:
    """One route of the API. writes: needs a key. seconds: its deadline; None where pieces have deadlines instead."""

    method: str
    path: str
    handler: Handler
    writes: bool
    seconds: float | None


@dataclass(frozen=True)
class Handlers:
    """What answers."""

    collections: CollectionHandlers
    contents: ContentHandlers
    searches: SearchHandlers
    status: StatusHandlers


def api_routes(handlers: Handlers, *, request_seconds: float, upload_seconds: float) -> Iterable[Route]:
    """The contract's ten routes, and what was added to them: cancelling, and what could not be indexed."""
    brief, long = request_seconds, upload_seconds
    one = "/api/collection/{id}"
    collections, contents = handlers.collections, handlers.contents
    return (
        Route("GET", "/api/collection/list", collections.list, writes=False, seconds=brief),
        Route("GET", f"{one}/info", collections.info, writes=False, seconds=brief),
        # As long as the client takes what it is sent, a download may go on.
        Route("GET", f"{one}/csvfile", contents.csv_file, writes=False, seconds=None),
        Route("POST", f"{one}/search", handlers.searches.search, writes=False, seconds=brief),
        Route("POST", "/api/verify", handlers.status.verify, writes=True, seconds=brief),
        Route("POST", "/api/collection/create", collections.create, writes=True, seconds=long),
        Route("POST", f"{one}/updatename", collections.update_name, writes=True, seconds=brief),
        Route("POST", f"{one}/updatecontent", contents.update, writes=True, seconds=long),
        Route("POST", f"{one}/finetune", collections.finetune, writes=True, seconds=brief),
        Route("POST", f"{one}/finetune/cancel", collections.cancel, writes=True, seconds=brief),
        # All of them as CSV is a download too.
        Route("GET", f"{one}/failures", collections.failures, writes=False, seconds=None),
        Route("POST", f"{one}/delete", collections.delete, writes=True, seconds=brief),
    )


def add_routes(application: web.Application, routes: Iterable[Route], access: Access, schema: SchemaWait) -> None:
    """Registers the API, each route behind its checks."""
    for route in routes:
        # HEAD too, where there is GET.
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        for method in methods:
            application.router.add_route(
                method, _pattern(route.path), _guarded(route, access, schema), expect_handler=expect_nothing
            )


def add_status_routes(application: web.Application, status: StatusHandlers, *, metrics: bool) -> None:
    """Registers the status routes, which are open; `/metrics` is one of them unless it has a port of its own."""
    application.router.add_get("/", status.about)
    application.router.add_get("/healthz", status.healthy)
    application.router.add_get("/readyz", status.ready)
    application.router.add_get("/readyz/gateway", status.serves)
    if metrics:
        application.router.add_get("/metrics", status.metrics)


def _pattern(path: str) -> str:
    """The path with an id that may be anything, also nothing or braces: what is no id is told that it names none."""
    return path.replace("{id}", "{id:[^/]*}")


def _guarded(route: Route, access: Access, schema: SchemaWait) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        await schema.check()
        await access.check(request, writes=route.writes)
        return await route.handler(request)

    async def handle_in_time(request: web.Request) -> web.StreamResponse:
        if route.seconds is None:
            return await handle(request)
        with request_scope(request_id(), route.seconds):
            try:
                async with asyncio.timeout(route.seconds) as limit:
                    return await handle(request)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise DeadlineExceeded("The request took longer than it may.") from None

    return handle_in_time
