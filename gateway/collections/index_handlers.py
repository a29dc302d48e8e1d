"""Indexes over HTTP: what the published indexes of a collection were made of."""

from json import loads

from aiohttp import web

from catalog.collections import Collections
from catalog.index_history import IndexHistory, PublishedIndex
from gateway.http import parameters
from gateway.http.responses import data
from gateway.upstreams.embedder import public_name

LISTED = 10


class IndexHandlers:
    """The routes of indexes."""

    def __init__(self, *, collections: Collections, history: IndexHistory) -> None:
        self._collections = collections
        self._history = history

    async def list(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/indexes`: the last ten, newest first."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        return data({"indexes": [_described(index) for index in await self._history.newest(collection.id, LISTED)]})

    async def one(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/indexes/{index_id}`."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        index_id = parameters.index_id(request.match_info["index_id"])
        return data(_described(await self._history.get(collection.id, index_id)))


def _described(index: PublishedIndex) -> dict[str, object]:
    return {
        "index_id": index.id,
        "live": index.live,
        "published_at": index.published_at.isoformat(),
        "superseded_at": index.superseded_at and index.superseded_at.isoformat(),
        "created_at": index.created_at.isoformat(),
        "job_id": index.job_id,
        "revision": index.revision,
        "backbone": {"name": index.backbone_name and public_name(index.backbone_name), "checksum": index.backbone},
        "dimension": index.dim,
        "number_of_images": index.row_count,
        "number_of_indexed_images": index.image_count,
        "number_of_failures": sum(index.failures.values()),
        "failures": dict(sorted(index.failures.items())),
        "quality": loads(index.quality) if index.quality else None,
    }
