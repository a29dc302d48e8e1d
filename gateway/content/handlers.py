"""The HTTP handlers of a collection's content: updatecontent and csvfile."""

from aiohttp import web

from catalog.collections import Collections
from catalog.contents import Contents, Revision
from gateway.content.upload import Uploads
from gateway.http import body, parameters
from gateway.http.responses import push, send_csv


class ContentHandlers:
    """Upload and download of a collection's content."""

    def __init__(self, *, collections: Collections, contents: Contents, uploads: Uploads) -> None:
        self._collections = collections
        self._contents = contents
        self._uploads = uploads

    async def update(self, request: web.Request) -> web.Response:
        """Handle `POST /api/collection/{id}/updatecontent`. The body is JSON, or the CSV itself as `text/csv`."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        limits = self._uploads.limits
        if collection.heidicon_tag is not None:
            stored = await self._uploads.replace_from_heidicon(collection.id, collection.heidicon_tag)
        elif body.media_type(request) == "text/csv":
            stored = await self._uploads.replace_from_csv(collection.id, body.chunks(request, limits.max_bytes))
        else:
            stored = await self._uploads.replace_from_json(collection.id, body.chunks(request, limits.max_json_bytes))
        return push(_message(stored), number_of_images=stored.row_count)

    async def csv_file(self, request: web.Request) -> web.StreamResponse:
        """Handle `GET /api/collection/{id}/csvfile`: stream the bytes as they were uploaded."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        size = await self._contents.size(collection.id, collection.content_revision)
        pieces = self._contents.read(collection.id, collection.content_revision)
        return await send_csv(request, collection.name, pieces, size=size)


def _message(stored: Revision) -> str:
    if not stored.changed:
        return "Content unchanged: it is the same as before"
    return f"Content updated: {stored.row_count} {'image' if stored.row_count == 1 else 'images'}"
