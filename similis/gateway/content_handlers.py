"""Content over HTTP: updatecontent and csvfile."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from similis.catalog.collections import Collections
from similis.catalog.contents import Contents, Revision
from similis.gateway import body, parameters
from similis.gateway.answers import attachment, push
from similis.gateway.upload import Uploads
from similis.servicekit.errors import ServiceError
from similis.servicekit.logs import get_logger

log = get_logger(__name__)

# A client that takes nothing for this long is gone.
STALLED_SECONDS = 30.0


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
        response = web.StreamResponse(headers={"Content-Disposition": attachment(collection.name, "csv")})
        response.content_type = "text/csv"
        response.charset = "utf-8"
        pieces = self._contents.read(collection.id, collection.content_revision)
        # Before the status is sent, so that a database that is down can still be told.
        first = await anext(pieces, b"")
        await response.prepare(request)
        if request.method != "HEAD":
            await _send(request, response, first, pieces)
        return response


async def _send(request: web.Request, response: web.StreamResponse, first: bytes, pieces: AsyncIterator[bytes]) -> None:
    piece = first
    try:
        while piece:
            async with asyncio.timeout(STALLED_SECONDS):
                await response.write(piece)
            piece = await anext(pieces, b"")
    except (ServiceError, TimeoutError) as error:
        # The status is sent: all that can be said is that this is not the end of the file.
        log.warning("download_broken_off", error=repr(error))
        if request.transport is not None:
            request.transport.abort()


def _message(stored: Revision) -> str:
    if not stored.changed:
        return "The content is the same as before; nothing was changed."
    return f"The content was stored: {stored.row_count} images."
