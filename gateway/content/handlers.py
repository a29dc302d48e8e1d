"""The HTTP handlers of a collection's content: updatecontent and csvfile."""

from collections.abc import AsyncIterator

from aiohttp import web

from catalog.collections import Collections
from catalog.contents import Contents
from gateway.audit.request_record import record_of
from gateway.content.upload import Uploaded, Uploads
from gateway.http import body, form, parameters
from gateway.http.draining import Drain
from gateway.http.responses import push, send_csv
from servicekit.quantities import counted

PARAMETERS = ("allow_empty",)


class ContentHandlers:
    """Upload and download of a collection's content."""

    def __init__(self, *, collections: Collections, contents: Contents, uploads: Uploads, drain: Drain) -> None:
        self._collections = collections
        self._contents = contents
        self._uploads = uploads
        self._drain = drain

    async def update(self, request: web.Request) -> web.Response:
        """Handle `POST /api/collection/{id}/updatecontent`. The body is JSON, a form, or the CSV itself."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        if collection.heidicon_tag is not None:
            work = self._import(request, collection.id, collection.heidicon_tag)
            return await self._drain.to_the_end(request, work)
        return _answer(request, await self._upload(request, collection.id))

    async def _import(self, request: web.Request, collection_id: int, tag: str) -> web.Response:
        return _answer(request, await self._uploads.replace_from_heidicon(collection_id, tag))

    async def _upload(self, request: web.Request, collection_id: int) -> Uploaded:
        limits = self._uploads.limits
        kind = body.media_type(request)
        if kind == "text/csv":
            pieces = body.chunks(request, limits.max_bytes, limits.exceeded)
            return await self._uploads.replace_from_csv(collection_id, pieces)
        if kind == form.MEDIA_TYPE:
            pieces = body.chunks(request, limits.max_bytes + form.MAX_FIELD_BYTES, limits.exceeded)
            pieces = form.FileForm(request).file(pieces)
            return await self._uploads.replace_from_csv(collection_id, self._csv(pieces))
        head, pieces = await body.head_of(body.chunks(request, limits.max_json_bytes, limits.exceeded))
        # No CSV begins like this.
        if head.startswith(b"{") or (head.startswith(b"[") and body.is_json(request)):
            return await self._uploads.replace_from_json(collection_id, pieces)
        return await self._uploads.replace_from_csv(collection_id, self._csv(pieces))

    def _csv(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        limits = self._uploads.limits
        return body.limited(pieces, limits.max_bytes, limits.exceeded)

    async def csv_file(self, request: web.Request) -> web.StreamResponse:
        """Handle `GET /api/collection/{id}/csvfile`: stream the bytes as they were uploaded."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        size = await self._contents.size(collection.id, collection.content_revision)
        pieces = self._contents.read(collection.id, collection.content_revision)
        return await send_csv(request, collection.name, pieces, size=size)


def _answer(request: web.Request, uploaded: Uploaded) -> web.Response:
    stored = uploaded.revision
    record_of(request).note(changed=stored.changed, number_of_images=stored.row_count, revision=stored.revision)
    message = (
        f"Content updated: {counted(stored.row_count, 'image')}"
        if stored.changed
        else "Content unchanged: it is the same as before"
    )
    warnings = [*uploaded.warnings, *parameters.unknown_parameters(request.query, PARAMETERS)]
    return push(message, number_of_images=stored.row_count, warnings=warnings)
