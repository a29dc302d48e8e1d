"""Search over HTTP: the image comes as a field of a JSON object, or as the whole body."""

from dataclasses import asdict

from aiohttp import web

from gateway.http import body, parameters
from gateway.http.base64_body import Base64Body
from gateway.http.responses import data
from gateway.search.service import SearchRequest, SearchService
from servicekit.errors import TooLarge
from servicekit.limits import ByteAccount, ByteBudget

FIELD = "image"
# The other fields of a JSON body, or the head of a data URL.
OVERHEAD_BYTES = 64 * 1024
# Each image is in memory three times: as bytes, in the message to the embedder, and serialised for sending.
COPIES = 3


class SearchHandlers:
    """The search route."""

    def __init__(self, *, searches: SearchService, memory: ByteBudget, max_image_bytes: int) -> None:
        self._searches = searches
        self._memory = memory
        self._max_image_bytes = max_image_bytes

    async def search(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/search`. A JSON body gets an object as the answer, any other body a bare list."""
        index = await self._searches.find_index(parameters.collection_id(request.match_info["id"]))
        is_json = _is_json(body.media_type(request))
        with self._memory.account() as account:
            wanted = await self._read(request, account, field=FIELD if is_json else None)
            results = [asdict(result) for result in await self._searches.search(index, wanted)]
        return data({"results": results} if is_json else results)

    async def _read(self, request: web.Request, account: ByteAccount, *, field: str | None) -> SearchRequest:
        image = _Image(account, self._max_image_bytes)
        base64 = Base64Body(image.write, field=field)
        # Base64 is a third longer than the image; line breaks and their escapes add to that.
        async for piece in body.chunks(request, self._max_image_bytes * 3 // 2 + OVERHEAD_BYTES):
            base64.feed(piece)
        options = base64.finish()
        return parameters.search_request(image.bytes(), options, request.query)


class _Image:
    """Collect the bytes of an image, within the limits."""

    def __init__(self, account: ByteAccount, limit: int) -> None:
        self._account = account
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises TooLarge, image_too_large, and Overloaded when the memory for bodies is used up."""
        self._size += len(piece)
        if self._size > self._limit:
            raise TooLarge(f"The image may have at most {self._limit} bytes.", code="image_too_large")
        self._account.take(COPIES * len(piece))
        self._pieces.append(piece)

    def bytes(self) -> bytes:
        """Return the whole image."""
        return b"".join(self._pieces)


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")
