"""The HTTP handlers of single images: list them, and show one."""

from aiohttp import web

from catalog.collections import Collections
from catalog.content.image_states import ImageFilter, ImageStates, StatedImage
from gateway.http import parameters
from gateway.http.responses import data

IMAGES_PER_PAGE, MAX_IMAGES_PER_PAGE = 1000, 10_000
LIST_PARAMETERS = ("limit", "after", "state", "repo_url")


class ImageHandlers:
    """The routes of single images."""

    def __init__(self, *, collections: Collections, states: ImageStates) -> None:
        self._collections = collections
        self._states = states

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
        return data(_described(image), warnings=parameters.unknown_parameters(request.query))


def _described(image: StatedImage) -> dict[str, object]:
    return {
        "image_id": image.id,
        "image_url": image.image_url,
        "repo_url": image.repo_url,
        "state": image.state,
        "reason": image.reason,
    }
