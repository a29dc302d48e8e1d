"""Read the bodies of searches: a JSON object with images as base64, a form with an image, or an image alone."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from aiohttp import web

from gateway.admission.shares import BodyMemory
from gateway.content.file_kind import other_kind
from gateway.http import body, form
from gateway.http.base64_body import Base64Body, Base64Fields, Path
from gateway.http.json_object import JsonObject
from gateway.upstreams.embedder import COPIES
from servicekit.errors import InvalidRequest, ServiceError, TooLarge
from servicekit.limits import ByteAccount
from servicekit.quantities import size_in_words

# The other fields of a JSON body, the head of a data URL, or the other parts of a form.
OVERHEAD_BYTES = 64 * 1024


@dataclass
class Sent:
    """What a request sent. fields: of its JSON object; None if the body is an image. form: its text parts."""

    images: list[bytes]
    fields: JsonObject | None = None
    form: dict[str, str] = field(default_factory=dict)


@dataclass
class SentObject:
    """A JSON object that a request sent.

    images: in it, numbered as `Base64Fields.finish` says. errors: why some of them could not be read, by number.
    """

    fields: JsonObject
    images: list[bytes]
    errors: dict[int, ServiceError]


class SearchBodies:
    """Reads bodies, within limits that all requests share."""

    def __init__(self, *, memory_bytes: int, max_image_bytes: int) -> None:
        """memory_bytes: for all images together, but one always fits."""
        memory_bytes = max(memory_bytes, COPIES * max_image_bytes)
        self._memory = BodyMemory(memory_bytes)
        self._max_image_bytes = max_image_bytes
        self._max_request_bytes = memory_bytes // COPIES

    @contextmanager
    def memory(self) -> Iterator[ByteAccount]:
        """Return an account for the images of one request. Keep it until they are no longer needed."""
        with self._memory.account() as account:
            yield account

    async def read(self, request: web.Request, account: ByteAccount, paths: Collection[Path]) -> Sent:
        """Read a body of any kind. paths: of the images in a JSON object.

        Raises InvalidRequest, TooLarge (image_too_large), and Overloaded when the memory for bodies is used up.
        """
        images = _Images(account, self._max_image_bytes, self._max_request_bytes)
        kind = body.media_type(request)
        if kind == form.MEDIA_TYPE:
            sent = form.FileForm(request)
            await _take(sent.file(self._chunks(request, self._max_image_bytes)), images.begin())
            return Sent(images.finish(), form=sent.fields)
        if kind.startswith("image/"):
            await _take(self._chunks(request, self._max_image_bytes), images.begin())
            return Sent(images.finish())
        head, pieces = await body.head_of(self._chunks(request, self._max_request_bytes))
        if body.is_binary(head) or other_kind(head):
            # What it is instead of an image is said when it is whole.
            await _take(pieces, images.begin())
            return Sent(images.finish())
        if head.startswith(b"[") and body.is_json(request):
            raise InvalidRequest('The body must be a JSON object, such as {"image": "…"}.', code="invalid_json")
        if head.startswith(b"{"):
            fields = Base64Fields(images.begin, paths)
            await _take(pieces, fields.feed)
            return Sent(fields=fields.finish(), images=images.finish())
        await _decode(images.begin(), head, pieces)
        return Sent(images.finish())

    async def read_object(
        self,
        request: web.Request,
        account: ByteAccount,
        paths: Collection[Path],
        *,
        example: str,
        other_bytes: int = OVERHEAD_BYTES,
        keeps_errors: bool = False,
    ) -> "SentObject":
        """Read a body that must be a JSON object. Raises as `read`.

        example: of a body. other_bytes: the most that the object may have besides the images. keeps_errors: return what
        is wrong with single images instead of raising it.
        """
        images = _Images(account, self._max_image_bytes, self._max_request_bytes)
        head, pieces = await body.head_of(self._chunks(request, self._max_request_bytes, other_bytes))
        if not head.startswith(b"{"):
            raise InvalidRequest(f"The body must be a JSON object, such as {example}.", code="invalid_json")
        fields = Base64Fields(images.begin, paths, other_bytes=other_bytes, keeps_errors=keeps_errors)
        await _take(pieces, fields.feed)
        return SentObject(fields.finish(), images.finish(), fields.errors)

    def _chunks(self, request: web.Request, size: int, other_bytes: int = OVERHEAD_BYTES) -> AsyncIterator[bytes]:
        # Base64 is a third longer than what it encodes; line breaks and their escapes add to that.
        most = size * 3 // 2 + other_bytes
        exceeded = partial(_too_large, self._max_image_bytes)
        return body.chunks(request, most, exceeded, max_expansion=body.MAX_EXPANSION)


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


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The image may have at most {size_in_words(limit)}.", code="image_too_large")
