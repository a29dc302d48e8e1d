"""The HTTP handlers of a collection's content: updatecontent, csvfile and revisions."""

from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from catalog.collections import Collection, Collections
from catalog.contents import Contents
from catalog.sources.sources import Sources
from gateway.audit.request_record import record_of
from gateway.content.upload import Uploaded, UploadOptions, Uploads
from gateway.heidicon.importer import READ_IN_BACKGROUND, TakesLonger
from gateway.http import body, form, parameters
from gateway.http.draining import Drain
from gateway.http.responses import data, push, send_csv, timestamp
from gateway.sources.imported_content import content_is_imported
from gateway.upstreams.trainer import TrainerClient
from servicekit.errors import InvalidRequest
from servicekit.quantities import counted

UPDATE_PARAMETERS = ("allow_empty",)


class ContentHandlers:
    """Upload and download of a collection's content."""

    def __init__(
        self,
        *,
        collections: Collections,
        contents: Contents,
        sources: Sources,
        uploads: Uploads,
        trainer: TrainerClient,
        drain: Drain,
    ) -> None:
        self._collections = collections
        self._contents = contents
        self._sources = sources
        self._uploads = uploads
        self._trainer = trainer
        self._drain = drain

    async def update(self, request: web.Request) -> web.Response:
        """Handle `POST /api/collection/{id}/updatecontent`. The body is JSON, a form, or the CSV itself."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        allow_empty = parameters.boolean(request.query, "allow_empty")
        options = UploadOptions(record_of(request).key_name, allow_empty=allow_empty)
        if collection.heidicon_tag is not None:
            work = self._import(request, collection, collection.heidicon_tag, options)
            return await self._drain.to_the_end(request, work)
        if collection.source_type is not None:
            raise content_is_imported(collection)
        return _answer(request, await self._upload(request, collection.id, options))

    async def _import(
        self, request: web.Request, collection: Collection, tag: str, options: UploadOptions
    ) -> web.Response:
        source = None if collection.source_type is None else await self._sources.find(collection.id)
        if source is not None and source.newest is not None and source.newest.active:
            return _being_read(request, collection, source.newest.id, [])
        try:
            uploaded = await self._uploads.replace_from_heidicon(collection.id, tag, options.key_name)
        except TakesLonger as longer:
            reading = await self._sources.enqueue_heidicon(collection.id, longer.instance, longer.tag, options.key_name)
            self._trainer.nudge()
            return _being_read(request, collection, reading.id, longer.warnings)
        return _answer(request, uploaded)

    async def _upload(self, request: web.Request, collection_id: int, options: UploadOptions) -> Uploaded:
        limits = self._uploads.limits
        kind = body.media_type(request)
        if kind == "text/csv":
            pieces = body.chunks(request, limits.max_bytes, limits.exceeded)
            return await self._uploads.replace_from_csv(collection_id, pieces, options)
        if kind == form.MEDIA_TYPE:
            pieces = body.chunks(request, limits.max_bytes + form.MAX_FIELD_BYTES, limits.exceeded)
            pieces = form.FileForm(request).file(pieces)
            return await self._uploads.replace_from_csv(collection_id, self._csv(pieces), options)
        head, pieces = await body.head_of(body.chunks(request, limits.max_json_bytes, limits.exceeded))
        # No CSV begins like this.
        if head.startswith(b"{") or (head.startswith(b"[") and body.is_json(request)):
            return await self._uploads.replace_from_json(collection_id, pieces, options)
        return await self._uploads.replace_from_csv(collection_id, self._csv(pieces), options)

    def _csv(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        limits = self._uploads.limits
        return body.limited(pieces, limits.max_bytes, limits.exceeded)

    async def csv_file(self, request: web.Request) -> web.StreamResponse:
        """Handle `GET /api/collection/{id}/csvfile`: stream the bytes as they were uploaded.

        `revision`: one of those that `revisions` lists, instead of the newest.
        """
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        name, revision = collection.name, collection.content_revision
        if "revision" in request.query:
            revision = parameters.whole_number(request.query, "revision", revision)
            await self._check_kept(collection.id, revision)
            name = f"{name} revision {revision}"
        size = await self._contents.size(collection.id, revision)
        return await send_csv(request, name, self._contents.read(collection.id, revision), size=size)

    async def revisions(self, request: web.Request) -> web.Response:
        """Handle `GET /api/collection/{id}/revisions`: the last contents, the newest first."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        kept = [
            {"revision": one.revision, "time": timestamp(one.created_at), "rows": one.row_count, "key": one.key_name}
            for one in await self._contents.kept(collection.id)
        ]
        return data({"revisions": kept}, warnings=parameters.unknown_parameters(request.query))

    async def _check_kept(self, collection_id: int, revision: int) -> None:
        kept = [one.revision for one in await self._contents.kept(collection_id)]
        if revision not in kept:
            there = f"It has {', '.join(map(str, kept))}" if kept else "It has none yet"
            message = f"Collection {collection_id} has no revision {revision}. {there}."
            raise InvalidRequest(message, code="revision_not_found")


def _being_read(request: web.Request, collection: Collection, reading: int, warnings: Sequence[str]) -> web.Response:
    record_of(request).note(reading=reading)
    unknown = parameters.unknown_parameters(request.query, UPDATE_PARAMETERS)
    return push(
        "The content is being read from HeidICON",
        number_of_images=collection.row_count,
        reading_id=reading,
        warnings=[READ_IN_BACKGROUND, *warnings, *unknown],
    )


def _answer(request: web.Request, uploaded: Uploaded) -> web.Response:
    stored = uploaded.revision
    record_of(request).note(changed=stored.changed, number_of_images=stored.row_count, revision=stored.revision)
    message = (
        f"Content updated: {counted(stored.row_count, 'image')}"
        if stored.changed
        else "Content unchanged: it is the same as before"
    )
    warnings = [*uploaded.warnings, *parameters.unknown_parameters(request.query, UPDATE_PARAMETERS)]
    return push(message, number_of_images=stored.row_count, warnings=warnings)
