"""Reading a request's body: decoded, counted, bounded, and no sooner than the handler asks for it."""

import zlib
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from gateway.http.json_object import JsonObject, parse_object
from servicekit.errors import InvalidRequest, TooLarge

CHUNK_BYTES = 256 * 1024
SMALL_BODY_BYTES = 64 * 1024
# zlib's window size that takes the header of gzip, and of zlib.
ZLIB_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
ENCODINGS = "gzip, deflate"


async def expect_nothing(_: web.Request) -> None:
    """Stands in for aiohttp's handler of `Expect`, which would ask for the body before the key was checked."""


async def chunks(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """The body in pieces, its content encoding undone.

    limit: the most decoded bytes. Raises TooLarge, and InvalidRequest for a body that is not what its headers say.
    """
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    _ask_for_body(request)
    size = 0
    try:
        async for chunk in _decoded(request):
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            yield chunk
    except (RequestPayloadError, zlib.error):
        raise InvalidRequest("The body is broken or incomplete.", code="invalid_body") from None


async def read_object(request: web.Request) -> JsonObject:
    """A small body that is a JSON object; an empty body is an empty object. Raises InvalidRequest, TooLarge."""
    return parse_object(b"".join([piece async for piece in chunks(request, SMALL_BODY_BYTES)]))


def media_type(request: web.Request) -> str:
    """The media type that the client named, in lower case and without parameters; empty for none."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def too_large(limit: int) -> TooLarge:
    """The refusal of a body with more bytes than `limit`."""
    return TooLarge(f"The body is larger than {limit} bytes.")


def _ask_for_body(request: web.Request) -> None:
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    if expects and request.transport is not None and not request.content.at_eof():
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _decoded(request: web.Request) -> AsyncIterator[bytes]:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in request.content.iter_chunked(CHUNK_BYTES):
            yield chunk
        return
    if encoding not in ZLIB_WINDOW:
        raise web.HTTPUnsupportedMediaType(headers={"Accept-Encoding": ENCODINGS})
    decoder = zlib.decompressobj(wbits=ZLIB_WINDOW[encoding])
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        pending = chunk
        while pending:
            yield decoder.decompress(pending, CHUNK_BYTES)
            pending = decoder.unconsumed_tail
        if decoder.unused_data:
            raise zlib.error("data after the end")
    # What the window still holds: less than one piece.
    yield decoder.flush()
    if not decoder.eof:
        raise zlib.error("incomplete")
