"""Search over HTTP, with both bodies that clients send."""

from dataclasses import asdict

from aiohttp import web

from similis.gateway import base64_text, body, parameters
from similis.gateway.answers import data
from similis.gateway.gate import ByteBudget
from similis.gateway.json_object import JsonObject, parse_object
from similis.gateway.search import Searches, SearchRequest
from similis.servicekit.errors import TooLarge

# What surrounds the image in a JSON body or a data URL.
OVERHEAD_BYTES = 64 * 1024


class SearchHandlers:
    """The route that searches."""

    def __init__(self, *, searches: Searches, memory: ByteBudget, max_image_bytes: int) -> None:
        self._searches = searches
        self._memory = memory
        self._max_image_bytes = max_image_bytes

    async def search(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/search`; the answer is an object for JSON, a bare list for any other body."""
        identifier = parameters.collection_id(request.match_info["id"])
        index = await self._searches.find_index(identifier)
        is_json = _is_json(body.media_type(request))
        with self._memory.account() as account:
            try:
                raw = await body.read(request, self._max_body_bytes, account)
            except TooLarge as error:
                raise TooLarge(f"The image is larger than {self._max_image_bytes} bytes.", code=error.code) from None
            wanted = self._wanted(raw, is_json, request)
            del raw
            results = [asdict(result) for result in await self._searches.run(index, wanted)]
        return data({"results": results} if is_json else results)

    @property
    def _max_body_bytes(self) -> int:
        # Base64 takes a third more, its line breaks and their escapes some.
        return self._max_image_bytes * 3 // 2 + OVERHEAD_BYTES

    def _wanted(self, raw: bytes, is_json: bool, request: web.Request) -> SearchRequest:
        fields: JsonObject = parse_object(raw) if is_json else {}
        image = parameters.image_of(fields) if is_json else base64_text.decode(raw)
        return parameters.search_request(image, fields, request.query, self._max_image_bytes)


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")
