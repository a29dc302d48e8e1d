"""Content over HTTP: updatecontent and csvfile."""

from aiohttp import web

from catalog.collections import Collections
from catalog.contents import Contents, Revision
from gateway.content.upload import Uploads
from gateway.http import body, parameters
from gateway.http.responses import push, send_csv


class ContentHandlers:
    """The routes that move a collection's content."""

    def __init__(self, *, collections: Collections, contents: Contents, uploads: Uploads) -> None:
        self._collections = collections
        self._contents = contents
        self._uploads = uploads

    async def update(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/updatecontent`; the body is JSON, or the CSV itself as `text/csv`."""
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
        """`GET /api/collection/{id}/csvfile`: the bytes as they were uploaded, a piece at a time."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        return await send_csv(request, collection.name, self._contents.read(collection.id, collection.content_revision))


def _message(stored: Revision) -> str:
    if not stored.changed:
        return "The content is the same as before; nothing was changed."
    return f"The content was stored: {stored.row_count} images."
