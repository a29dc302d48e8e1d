"""Thumbnails over HTTP."""

from aiohttp import hdrs, web

from catalog.collections import Collections
from catalog.images import Images
from gateway.http import parameters
from gateway.thumbnails.service import Thumbnails
from servicekit.errors import InvalidRequest

# The longer side in pixels: for a gallery, and for looking at one image.
SIDES = {"small": 640, "large": 1600}
HEADERS = {
    hdrs.CACHE_CONTROL: "public, max-age=86400",
    # Pages of other sites may show it, as they may show the image itself.
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


class ThumbnailHandlers:
    """The route of thumbnails."""

    def __init__(self, *, collections: Collections, images: Images, thumbnails: Thumbnails | None) -> None:
        """thumbnails: None if this installation serves none."""
        self._collections = collections
        self._images = images
        self._thumbnails = thumbnails

    async def one(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/images/{image_id}/thumbnail`: a JPEG. `size`: `small`, the default, or `large`."""
        size = parameters.choice(request.query, "size", tuple(SIDES)) or "small"
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        if self._thumbnails is None:
            message = (
                "Thumbnails are turned off. Load the image from its own URL. "
                "An operator can turn them on with SIMILIS_SERVE_THUMBNAILS=true."
            )
            raise InvalidRequest(message, code="thumbnails_not_served")
        url = await self._images.url(collection.id, parameters.image_id(request.match_info["image_id"]))
        made = await self._thumbnails.get(url, SIDES[size])
        return web.Response(body=made, content_type="image/jpeg", headers=HEADERS)
