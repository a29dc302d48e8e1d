"""The HTTP handlers of single images: list them, show one, add some, delete some."""

from aiohttp import web

from catalog.collections import Collections
from catalog.content.image_states import ImageFilter, ImageStates, StatedImage
from catalog.sources.records import Records
from gateway.audit.request_record import record_of
from gateway.http import body, parameters
from gateway.http.responses import data, push
from gateway.images.edits import ImageEdits
from gateway.sources.imported_content import content_is_imported
from servicekit.errors import InvalidRequest
from servicekit.quantities import counted

IMAGES_PER_PAGE, MAX_IMAGES_PER_PAGE = 1000, 10_000
MAX_DELETED_IMAGES = 10_000
# 10,000 rows have about 2 MB; a field may have 64 Ki characters.
ADD_BODY_BYTES = 16 * 1024 * 1024
DELETE_BODY_BYTES = 256 * 1024
LIST_PARAMETERS = ("limit", "after", "state", "repo_url")


class ImageHandlers:
    """The routes of single images."""

    def __init__(self, *, collections: Collections, states: ImageStates, edits: ImageEdits, records: Records) -> None:
        self._collections = collections
        self._records = records
        self._states = states
        self._edits = edits

    async def list(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/images`: a page of images, by id."""
        identifier = parameters.collection_id(request.match_info["id"])
        limit = parameters.whole_number(request.query, "limit", IMAGES_PER_PAGE, most=MAX_IMAGES_PER_PAGE)
        after = parameters.whole_number(request.query, "after", 0, least=0)
        only = ImageFilter(parameters.image_state(request.query), request.query.get("repo_url"))
        collection = await self._collections.get(identifier)
        found = await self._states.page(collection.id, after=after, limit=limit + 1, only=only)
        page = {
            "images": [_described(image) for image in found[:limit]],
            "next": found[limit - 1].id if len(found) > limit else None,
        }
        return data(page, warnings=parameters.unknown_parameters(request.query, LIST_PARAMETERS))

    async def one(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/images/{image_id}`."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        image = await self._states.get(collection.id, parameters.image_id(request.match_info["image_id"]))
        described = _described(image)
        if collection.source_type is not None:
            details = await self._records.details(collection.id, [image.image_url])
            described |= {name: value for found in details.values() for name, value in vars(found).items()}
        return data(described, warnings=parameters.unknown_parameters(request.query))

    async def add(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/images`: append rows to the content."""
        collection = await self._editable(request)
        record = record_of(request)
        pieces = body.chunks(request, ADD_BODY_BYTES)
        done = await self._edits.add(collection, pieces, record.key_name)
        ids = list(done.edited.image_ids)
        record.note(number_of_images=done.edited.row_count, revision=done.edited.revision, added=len(ids))
        return push(
            f"{counted(len(ids), 'image')} added",
            image_ids=ids,
            number_of_images=done.edited.row_count,
            warnings=[*done.warnings, *parameters.unknown_parameters(request.query)],
        )

    async def delete(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/images/delete`: cut rows out of the content."""
        collection = await self._editable(request)
        fields = await body.read_object(request, DELETE_BODY_BYTES)
        ids = parameters.image_ids(fields, MAX_DELETED_IMAGES)
        record = record_of(request)
        edited = await self._edits.delete(collection, ids, record.key_name)
        record.note(number_of_images=edited.row_count, revision=edited.revision, deleted=len(ids))
        unknown = parameters.unknown_fields(fields, ("image_ids",))
        return push(
            f"{counted(len(ids), 'image')} deleted",
            number_of_images=edited.row_count,
            warnings=[*unknown, *parameters.unknown_parameters(request.query)],
        )

    async def _editable(self, request: web.Request) -> int:
        """Return the id of a collection whose content clients may change row by row."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        if collection.heidicon_tag is None and collection.source_type is not None:
            raise content_is_imported(collection)
        if collection.heidicon_tag is not None:
            message = (
                f"Collection {collection.id} is imported from HeidICON (tag “{collection.heidicon_tag}”). "
                "Change it there, then call updatecontent to import it again."
            )
            raise InvalidRequest(message, code="content_is_imported")
        return collection.id


def _described(image: StatedImage) -> dict[str, object]:
    return {
        "image_id": image.id,
        "image_url": image.image_url,
        "repo_url": image.repo_url,
        "state": image.state,
        "reason": image.reason,
    }
