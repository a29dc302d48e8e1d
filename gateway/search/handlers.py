"""Search over HTTP: the image comes as base64, in a form, or as the body itself."""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field

from aiohttp import web

from gateway.content.file_kind import HEAD_BYTES, other_kind
from gateway.http import body, form, parameters
from gateway.http.base64_body import Base64Body
from gateway.http.json_object import JsonObject
from gateway.http.responses import data
from gateway.search.service import SearchRequest, SearchService
from servicekit.errors import InvalidRequest, TooLarge
from servicekit.limits import ByteAccount, ByteBudget
from servicekit.quantities import size_in_words

FIELD = "image"
# The other fields of a JSON body, the head of a data URL, or the other parts of a form.
OVERHEAD_BYTES = 64 * 1024
# Each image is in memory three times: as bytes, in the message to the embedder, and serialised for sending.
COPIES = 3


@dataclass
class _Query:
    """What a request sent. fields: of its JSON object; None if the body is something else. form: its text parts."""

    image: bytes
    fields: JsonObject | None = None
    form: dict[str, str] = field(default_factory=dict)


class SearchHandlers:
    """The search route."""

    def __init__(self, *, searches: SearchService, memory_bytes: int, max_image_bytes: int) -> None:
        """memory_bytes: for all images together, but one always fits."""
        self._searches = searches
        self._memory = ByteBudget(max(memory_bytes, COPIES * max_image_bytes))
        self._max_image_bytes = max_image_bytes

    async def search(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/search`. A JSON object gets an object as the answer, other bodies a bare list."""
        index = await self._searches.find_index(parameters.collection_id(request.match_info["id"]))
        with self._memory.account() as account:
            query = await self._read(request, account)
            wanted = self._wanted(request, query)
            answer = await self._searches.search(index, wanted)
        results = [asdict(result) for result in answer.results]
        if query.fields is None:
            return data(results)
        warnings = parameters.search_warnings(query.fields, request.query)
        return data({"results": results, "index_id": answer.index_id}, warnings=warnings)

    def _wanted(self, request: web.Request, query: _Query) -> SearchRequest:
        if kind := other_kind(query.image[:HEAD_BYTES]):
            raise InvalidRequest(f"The file is {kind}, not an image.", code="not_an_image")
        return parameters.search_request(query.image, query.fields or {}, {**request.query, **query.form})

    async def _read(self, request: web.Request, account: ByteAccount) -> _Query:
        image = _Image(account, self._max_image_bytes)
        kind = body.media_type(request)
        if kind == form.MEDIA_TYPE:
            sent = form.FileForm(request)
            await image.take(sent.file(self._chunks(request)))
            return _Query(image.bytes(), form=sent.fields)
        if kind.startswith("image/"):
            await image.take(self._chunks(request))
            return _Query(image.bytes())
        head, pieces = await body.head_of(self._chunks(request))
        if body.is_binary(head):
            await image.take(pieces)
            return _Query(image.bytes())
        if head.startswith(b"[") and body.is_json(request):
            raise InvalidRequest('The body must be a JSON object, such as {"image": "…"}.', code="invalid_json")
        return await self._decode(image, head, pieces)

    async def _decode(self, image: "_Image", head: bytes, pieces: AsyncIterator[bytes]) -> _Query:
        is_object = head.startswith(b"{")
        base64 = Base64Body(image.write, field=FIELD if head.startswith((b"{", b'"')) else None)
        if head.startswith(b'"'):
            # Some HTTP libraries send the text as a JSON string, which is read as a field.
            base64.feed(b'{"image": ')
        async for piece in pieces:
            base64.feed(piece)
        if head.startswith(b'"'):
            base64.feed(b"}")
        fields = base64.finish()
        return _Query(image.bytes(), fields if is_object else None)

    def _chunks(self, request: web.Request) -> AsyncIterator[bytes]:
        # Base64 is a third longer than the image; line breaks and their escapes add to that.
        most = self._max_image_bytes * 3 // 2 + OVERHEAD_BYTES
        return body.chunks(request, most, lambda: _too_large(self._max_image_bytes))


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
            raise _too_large(self._limit)
        self._account.take(COPIES * len(piece))
        self._pieces.append(piece)

    async def take(self, pieces: AsyncIterator[bytes]) -> None:
        """Add all pieces. Raises what `write` raises."""
        async for piece in pieces:
            self.write(piece)

    def bytes(self) -> bytes:
        """Return the whole image."""
        return b"".join(self._pieces)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The image may have at most {size_in_words(limit)}.", code="image_too_large")
