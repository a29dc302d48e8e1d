"""Search over HTTP: a JSON object asks; or an image does, as base64, in a form, or as the body itself."""

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field

from aiohttp import web

from gateway.http import body, form, parameters
from gateway.http.base64_body import Base64Body, Base64Fields
from gateway.http.json_object import JsonObject
from gateway.http.responses import data
from gateway.search import question_fields
from gateway.search.question import Question
from gateway.search.service import SearchAnswer, SearchService
from gateway.upstreams.embedder import COPIES
from servicekit.errors import InvalidRequest, TooLarge
from servicekit.limits import ByteAccount, ByteBudget
from servicekit.quantities import size_in_words

# The other fields of a JSON body, the head of a data URL, or the other parts of a form.
OVERHEAD_BYTES = 64 * 1024


@dataclass
class _Sent:
    """What a request sent. fields: of its JSON object; None if the body is an image. form: its text parts."""

    images: list[bytes]
    fields: JsonObject | None = None
    form: dict[str, str] = field(default_factory=dict)


class SearchHandlers:
    """The search route."""

    def __init__(self, *, searches: SearchService, memory_bytes: int, max_image_bytes: int) -> None:
        """memory_bytes: for all images together, but one always fits."""
        self._searches = searches
        memory_bytes = max(memory_bytes, COPIES * max_image_bytes)
        self._memory = ByteBudget(memory_bytes)
        self._max_image_bytes = max_image_bytes
        self._max_request_bytes = memory_bytes // COPIES

    async def search(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/search`. A JSON object gets an object as the answer, other bodies a bare list."""
        index = await self._searches.find_index(parameters.collection_id(request.match_info["id"]))
        with self._memory.account() as account:
            sent = await self._read(request, account)
            answer = await self._searches.search(index, _question(request, sent), account)
        if sent.fields is None:
            return data([asdict(result) for result in answer.results])
        warnings = question_fields.search_warnings(sent.fields, request.query)
        paged = not question_fields.has_first_fields_only(sent.fields, request.query)
        return data(_answered(answer, paged=paged), warnings=warnings)

    async def _read(self, request: web.Request, account: ByteAccount) -> _Sent:
        images = _Images(account, self._max_image_bytes, self._max_request_bytes)
        kind = body.media_type(request)
        if kind == form.MEDIA_TYPE:
            sent = form.FileForm(request)
            await _take(sent.file(self._chunks(request, self._max_image_bytes)), images.begin())
            return _Sent(images.finish(), form=sent.fields)
        if kind.startswith("image/"):
            await _take(self._chunks(request, self._max_image_bytes), images.begin())
            return _Sent(images.finish())
        head, pieces = await body.head_of(self._chunks(request, self._max_request_bytes))
        if body.is_binary(head):
            await _take(pieces, images.begin())
            return _Sent(images.finish())
        if head.startswith(b"[") and body.is_json(request):
            raise InvalidRequest('The body must be a JSON object, such as {"image": "…"}.', code="invalid_json")
        if head.startswith(b"{"):
            fields = Base64Fields(images.begin, question_fields.IMAGE_PATHS)
            await _take(pieces, fields.feed)
            return _Sent(fields=fields.finish(), images=images.finish())
        await _decode(images.begin(), head, pieces)
        return _Sent(images.finish())

    def _chunks(self, request: web.Request, size: int) -> AsyncIterator[bytes]:
        # Base64 is a third longer than what it encodes; line breaks and their escapes add to that.
        most = size * 3 // 2 + OVERHEAD_BYTES
        return body.chunks(request, most, lambda: _too_large(self._max_image_bytes))


class _Images:
    """Collect the bytes of images, within the limits."""

    def __init__(self, account: ByteAccount, limit: int, together: int) -> None:
        """limit: the most bytes of one image. together: of all."""
        self._account = account
        self._limit = limit
        self._together = together
        self._size = 0
        self._images: list[list[bytes]] = []

    def begin(self) -> Callable[[bytes], None]:
        """Begin another image, and return what takes its bytes.

        That raises TooLarge, image_too_large, and Overloaded when the memory for bodies is used up.
        """
        pieces: list[bytes] = []
        self._images.append(pieces)
        size = 0

        def write(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            self._size += len(piece)
            if size > self._limit:
                raise _too_large(self._limit)
            if self._size > self._together:
                message = f"The images of a request may have at most {size_in_words(self._together)} together."
                raise TooLarge(message, code="image_too_large")
            self._account.take(COPIES * len(piece))
            pieces.append(piece)

        return write

    def finish(self) -> list[bytes]:
        """Return the images."""
        return [b"".join(pieces) for pieces in self._images]


async def _take(pieces: AsyncIterator[bytes], write: Callable[[bytes], None]) -> None:
    async for piece in pieces:
        write(piece)


async def _decode(write: Callable[[bytes], None], head: bytes, pieces: AsyncIterator[bytes]) -> None:
    """Decode a body that is base64."""
    # Some HTTP libraries send the text as a JSON string, which is read as a field.
    is_string = head.startswith(b'"')
    base64 = Base64Body(write, field="image" if is_string else None)
    if is_string:
        base64.feed(b'{"image": ')
    await _take(pieces, base64.feed)
    if is_string:
        base64.feed(b"}")
    base64.finish()


def _question(request: web.Request, sent: _Sent) -> Question:
    if sent.fields is None:
        return question_fields.image_question(sent.images[0], {**request.query, **sent.form})
    return question_fields.question(sent.fields, sent.images, request.query)


def _answered(answer: SearchAnswer, *, paged: bool) -> JsonObject:
    """Return an answer as clients get it. paged: with the offset of the next results."""
    fields: JsonObject = {"results": [asdict(result) for result in answer.results], "index_id": answer.index_id}
    if paged and answer.next_offset is not None:
        fields["next_offset"] = answer.next_offset
    return fields


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The image may have at most {size_in_words(limit)}.", code="image_too_large")
