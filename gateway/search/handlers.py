"""Search over HTTP, with both bodies that clients send."""

from dataclasses import asdict

from aiohttp import web

from gateway.http import body, parameters
from gateway.http.base64_stream import Base64Stream
from gateway.http.json_field import Base64Field
from gateway.http.responses import data
from gateway.search.service import Searches, SearchRequest
from servicekit.errors import TooLarge
from servicekit.limits import ByteAccount, ByteBudget

FIELD = "image"
# What surrounds the image in a JSON body or a data URL.
OVERHEAD_BYTES = 64 * 1024
# An image is held as such, in the message to the embedder, and in that as it is sent.
COPIES = 3


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
            read = self._from_json if is_json else self._from_text
            wanted = await read(request, account)
            results = [asdict(result) for result in await self._searches.run(index, wanted)]
        return data({"results": results} if is_json else results)

    async def _from_json(self, request: web.Request, account: ByteAccount) -> SearchRequest:
        image = _Image(account, self._max_image_bytes)
        field = Base64Field(FIELD, image.write)
        async for piece in body.chunks(request, self._max_body_bytes):
            field.feed(piece)
        return parameters.search_request(image.bytes(), field.finish(), request.query)

    async def _from_text(self, request: web.Request, account: ByteAccount) -> SearchRequest:
        image = _Image(account, self._max_image_bytes)
        text = Base64Stream(image.write, in_json=False)
        async for piece in body.chunks(request, self._max_body_bytes):
            text.feed(piece)
        text.feed(b"", last=True)
        return parameters.search_request(image.bytes(), {}, request.query)

    @property
    def _max_body_bytes(self) -> int:
        # Base64 takes a third more, its line breaks and their escapes some.
        return self._max_image_bytes * 3 // 2 + OVERHEAD_BYTES


class _Image:
    """The bytes of an image as they come, bounded."""

    def __init__(self, account: ByteAccount, limit: int) -> None:
        self._account = account
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Raises TooLarge, image_too_large; Overloaded when the budget is used up."""
        self._size += len(piece)
        if self._size > self._limit:
            raise TooLarge(f"The image is larger than {self._limit} bytes.", code="image_too_large")
        self._account.take(COPIES * len(piece))
        self._pieces.append(piece)

    def bytes(self) -> bytes:
        """The whole image."""
        return b"".join(self._pieces)


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")
