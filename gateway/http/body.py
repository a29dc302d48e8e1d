"""Read a request's body when the handler asks for it, decompressed and within limits."""

import zlib
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from gateway.http.json_object import JsonObject, parse_object
from servicekit.errors import InvalidRequest, TooLarge

CHUNK_BYTES = 256 * 1024
SMALL_BODY_BYTES = 64 * 1024
# zlib's `wbits` for the header of each format.
ZLIB_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
ENCODINGS = "gzip, deflate"


async def chunks(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the body in pieces, decompressed.

    limit: the most bytes after decompression. Raises TooLarge, and InvalidRequest (invalid_body) for a body that does
    not match its headers.
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
        message = "The body is incomplete, or does not match its Content-Encoding."
        raise InvalidRequest(message, code="invalid_body") from None


async def read_object(request: web.Request) -> JsonObject:
    """Return the JSON object in a small body; an empty body is an empty object. Raises InvalidRequest, TooLarge."""
    return parse_object(b"".join([piece async for piece in chunks(request, SMALL_BODY_BYTES)]))


def media_type(request: web.Request) -> str:
    """Return the media type of Content-Type in lower case, without parameters; empty if there is none."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def too_large(limit: int) -> TooLarge:
    """Return the error for a body with more bytes than `limit`."""
    return TooLarge(f"The body may have at most {limit} bytes.")


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
            raise zlib.error("data after the end of the stream")
    # At most one window: less than a piece.
    yield decoder.flush()
    if not decoder.eof:
        raise zlib.error("incomplete stream")
