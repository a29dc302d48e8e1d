"""Every route: its path, what its key must allow, its deadline, and its handler."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from catalog.keys.permissions import Scope
from gateway.about.handlers import AboutHandlers
from gateway.admission.admission import Lane
from gateway.collections.duplicate_handlers import DuplicateHandlers
from gateway.collections.handlers import CollectionHandlers
from gateway.collections.index_handlers import IndexHandlers
from gateway.collections.status_handlers import StatusHandlers
from gateway.content.handlers import ContentHandlers
from gateway.http.middleware import RequestPipeline, expect_later
from gateway.iiif.manifest_answers import ManifestAnswers
from gateway.images.embedding_handlers import EmbeddingHandlers
from gateway.images.handlers import ImageHandlers
from gateway.search.handlers import SearchHandlers
from gateway.sources.handlers import SourceHandlers
from gateway.thumbnails.handlers import ThumbnailHandlers
from gateway.web.handlers import ASSET_PATH, EMBED_PATH, PageHandlers

# Other routes have these words in the place of an id.
NOT_IDS = {"image_id": ("delete",)}


@dataclass(frozen=True)
class Route:
    """One route of the API.

    scope: what a key must allow; reading needs no key unless an operator demands one. always_keyed: it needs one even
    so. seconds: its deadline; None for downloads, where each piece has a time limit instead. lane: how it waits when
    there is much to do. action: what the audit log calls the change that it makes; None if it makes none.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope
    seconds: float | None
    lane: Lane = Lane.QUICK
    action: str | None = None
    always_keyed: bool = False


@dataclass(frozen=True)
class Handlers:
    """The handlers of all routes."""

    collections: CollectionHandlers
    contents: ContentHandlers
    images: ImageHandlers
    manifests: ManifestAnswers
    embeddings: EmbeddingHandlers
    sources: SourceHandlers
    duplicates: DuplicateHandlers
    indexes: IndexHandlers
    searches: SearchHandlers
    thumbnails: ThumbnailHandlers
    status: StatusHandlers
    page: PageHandlers


def api_routes(handlers: Handlers, *, request_seconds: float, upload_seconds: float) -> Iterable[Route]:
    """Return the routes below `/api`; `docs/api.md` describes each of them."""
    brief, long = request_seconds, upload_seconds
    read, write, admin = Scope
    one = "/api/collection/{id}"
    collections, contents = handlers.collections, handlers.contents
    search, download, other = Lane.SEARCH, Lane.DOWNLOAD, Lane.OTHER
    return (
        Route("GET", "/api/collection/list", collections.list, read, seconds=brief),
        Route("GET", f"{one}/info", collections.info, read, seconds=brief),
        Route("GET", f"{one}/csvfile", contents.csv_file, read, seconds=None, lane=download),
        Route("GET", f"{one}/revisions", contents.revisions, read, seconds=brief),
        Route("GET", f"{one}/images", handlers.images.list, read, seconds=brief),
        Route("GET", f"{one}/images/{{image_id}}", handlers.images.one, read, seconds=brief),
        Route("GET", f"{one}/images/{{image_id}}/thumbnail", handlers.thumbnails.one, read, seconds=brief, lane=other),
        Route("GET", f"{one}/images/{{image_id}}/embedding", handlers.embeddings.one, read, seconds=brief),
        Route("POST", f"{one}/images", handlers.images.add, write, seconds=long, lane=other, action="add_images"),
        Route(
            "POST",
            f"{one}/images/delete",
            handlers.images.delete,
            write,
            seconds=long,
            lane=other,
            action="delete_images",
        ),
        Route(
            "POST",
            f"{one}/search",
            handlers.manifests.offered(handlers.searches.search),
            read,
            seconds=brief,
            lane=search,
        ),
        Route("POST", f"{one}/search/batch", handlers.searches.search_batch, read, seconds=brief, lane=search),
        Route("POST", "/api/search", handlers.searches.search_collections, read, seconds=brief, lane=search),
        Route(
            "GET",
            f"{one}/similar",
            handlers.manifests.offered(handlers.searches.similar),
            read,
            seconds=brief,
            lane=search,
        ),
        Route("POST", "/api/verify", handlers.status.verify, read, seconds=brief, always_keyed=True),
        Route(
            "POST",
            "/api/collection/create",
            collections.create,
            admin,
            seconds=long,
            lane=other,
            action="create_collection",
        ),
        Route("POST", f"{one}/updatename", collections.update_name, admin, seconds=brief, action="rename_collection"),
        Route(
            "POST", f"{one}/updatecontent", contents.update, write, seconds=long, lane=other, action="update_content"
        ),
        Route("POST", f"{one}/finetune", collections.finetune, write, seconds=brief, action="start_finetune"),
        Route("POST", f"{one}/finetune/cancel", collections.cancel, write, seconds=brief, action="cancel_finetune"),
        Route("GET", f"{one}/source", handlers.sources.one, read, seconds=brief),
        Route("POST", f"{one}/source/read", handlers.sources.read, write, seconds=brief, action="read_source"),
        Route("POST", f"{one}/source/cancel", handlers.sources.cancel, write, seconds=brief, action="cancel_reading"),
        Route(
            "POST", f"{one}/source/schedule", handlers.sources.schedule, write, seconds=brief, action="schedule_source"
        ),
        # As CSV these two are downloads.
        Route("GET", f"{one}/failures", collections.failures, read, seconds=None, lane=download),
        Route("GET", f"{one}/duplicates", handlers.duplicates.list, read, seconds=None, lane=download),
        Route("GET", f"{one}/indexes", handlers.indexes.list, read, seconds=brief),
        Route("GET", f"{one}/indexes/{{index_id}}", handlers.indexes.one, read, seconds=brief),
        Route("POST", f"{one}/delete", collections.delete, admin, seconds=brief, action="delete_collection"),
    )


def add_routes(application: web.Application, routes: Iterable[Route], pipeline: RequestPipeline) -> None:
    """Register the API's routes, each behind its checks. HEAD is allowed wherever GET is."""
    for route in routes:
        handler = pipeline.guard(
            route.handler,
            scope=route.scope,
            always_keyed=route.always_keyed,
            seconds=route.seconds,
            lane=route.lane,
            action=route.action,
        )
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            application.router.add_route(method, _pattern(route.path), handler, expect_handler=expect_later)


def add_page_routes(application: web.Application, page: PageHandlers) -> None:
    """Register the web page, which needs no key."""
    application.router.add_get("/", page.root)
    application.router.add_get(ASSET_PATH, page.asset)
    application.router.add_get(EMBED_PATH, page.embed)


def add_status_routes(application: web.Application, status: StatusHandlers, *, metrics: bool) -> None:
    """Register the status routes, which need no key. metrics: also serve `/metrics` here."""
    application.router.add_get("/healthz", status.healthy)
    application.router.add_get("/readyz", status.ready)
    application.router.add_get("/readyz/gateway", status.serves)
    if metrics:
        application.router.add_get("/metrics", status.metrics)


def about_routes(about: AboutHandlers) -> Iterable[tuple[str, Handler]]:
    """Return the routes below `/api` that describe the service: all are GET and need neither a key nor the database."""
    return (
        ("/api/info", about.info),
        ("/api/openapi.yaml", about.openapi_yaml),
        ("/api/openapi.json", about.openapi_json),
        ("/api/docs", about.docs),
    )


def add_about_routes(application: web.Application, about: AboutHandlers) -> None:
    """Register the routes that describe the service."""
    for path, handler in about_routes(about):
        application.router.add_get(path, handler)


def _pattern(path: str) -> str:
    """Return the path with ids that match any text, so that a malformed id gets `collection_not_found`, for example."""
    return re.sub(r"\{(\w+)\}", lambda found: f"{{{found[1]}:{_ids(found[1])}}}", path)


def _ids(name: str) -> str:
    taken = "|".join(NOT_IDS.get(name, ()))
    return f"(?!(?:{taken})$)[^/]*" if taken else "[^/]*"
