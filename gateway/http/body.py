"""Read a request's body when the handler asks for it, decompressed and within limits."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestPayloadError

from gateway.admission.client import current_client
from gateway.admission.reception import Reception, current_reception
from gateway.http.json_object import JsonObject, parse_object
from servicekit.errors import InvalidRequest, ServiceError, TooLarge
from servicekit.quantities import size_in_words

CHUNK_BYTES = 256 * 1024
SMALL_BODY_BYTES = 64 * 1024
# The body of a search may be so many times as large as what is sent compressed, and this much larger in any case.
# Base64 of an image shrinks by a quarter, and that of an uncompressed drawing seldom by more than this.
MAX_EXPANSION, FREE_EXPANSION_BYTES = 20, 16 * 1024
# zlib's `wbits` for the header of each format.
ZLIB_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
ENCODINGS = "gzip, deflate"
# How much of a body shows what it is, white space at its beginning aside.
HEAD_BYTES, MAX_HEAD_BYTES = 16, 4096
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# No base64, data URL, JSON or CSV has these.
NOT_IN_TEXT = bytes(set(range(32)) - set(b"\t\n\r\f"))
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


async def chunks(
    request: web.Request,
    limit: int,
    exceeded: Callable[[], TooLarge] | None = None,
    *,
    max_expansion: int | None = None,
) -> AsyncIterator[bytes]:
    """Yield the body in pieces, decompressed.

    limit: the most bytes after decompression. exceeded: makes the error for more, which should name the limit that the
    client knows. max_expansion: how many times as large as what is sent the body may be; None: this does not matter.
    Raises `exceeded()`, and InvalidRequest (invalid_body) for a body that expands too much or does not match its
    headers.
    """
    exceeded = exceeded or (lambda: _too_large(limit))
    if request.content_length is not None and request.content_length > limit:
        raise exceeded()
    _ask_for_body(request)
    unshared = 0
    try:
        async for chunk in limited(_decoded(request, max_expansion), limit, exceeded):
            yield chunk
            unshared += len(chunk)
            if unshared >= CHUNK_BYTES:
                # What has arrived already is read without waiting, so others get their turn here.
                unshared = 0
                await asyncio.sleep(0)
    except (RequestPayloadError, zlib.error):
        message = "The body is incomplete, or does not match its Content-Encoding."
        raise InvalidRequest(message, code="invalid_body") from None


async def limited(pieces: AsyncIterator[bytes], limit: int, exceeded: Callable[[], TooLarge]) -> AsyncIterator[bytes]:
    """Yield the pieces, and raise `exceeded()` for the one with which they have more than `limit` bytes."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise exceeded()
        yield piece


async def head_of(pieces: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Return the beginning of a body without a byte order mark and white space, and all of its pieces."""
    first = b""
    async for piece in pieces:
        first += piece
        if len(_stripped(first)) >= HEAD_BYTES or len(first) >= MAX_HEAD_BYTES:
            break
    return _stripped(first), _continued(first, pieces)


def is_binary(head: bytes) -> bool:
    """Return whether a body with this beginning is no text, so that it can only be the bytes of a file."""
    return any(byte in NOT_IN_TEXT or byte >= 0x80 for byte in head[:HEAD_BYTES])


async def read_object(request: web.Request, limit: int = SMALL_BODY_BYTES) -> JsonObject:
    """Return the JSON object in a small body; an empty body is an empty object. Raises InvalidRequest, TooLarge."""
    text = b"".join([piece async for piece in chunks(request, limit)])
    try:
        return parse_object(text)
    except InvalidRequest as error:
        if media_type(request) not in FORM_TYPES or text.lstrip().startswith(b"{"):
            raise
        message = "The body is a form. Send a JSON object with the Content-Type application/json."
        raise InvalidRequest(message, code=error.code) from None


async def fields_without_meaning(request: web.Request) -> list[str]:
    """Return the names of the fields in a JSON body that a route does not need; none if it is anything else."""
    if not is_json(request) or not 0 < (request.content_length or 0) <= SMALL_BODY_BYTES:
        return []
    try:
        return list(await read_object(request))
    except ServiceError:
        return []


def is_json(request: web.Request) -> bool:
    """Return whether the request says that its body is JSON."""
    kind = media_type(request)
    return kind == "application/json" or kind.endswith("+json")


def media_type(request: web.Request) -> str:
    """Return the media type of Content-Type in lower case, without parameters; empty if there is none."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body may have at most {size_in_words(limit)}.")


def _expands_too_much(most: int) -> InvalidRequest:
    message = f"The compressed body is more than {most} times as large as what was sent. Send it uncompressed."
    return InvalidRequest(message, code="invalid_body")


def _stripped(first: bytes) -> bytes:
    return first.removeprefix(BYTE_ORDER_MARK).lstrip()


async def _continued(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in pieces:
        yield piece


def _ask_for_body(request: web.Request) -> None:
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    # HTTP/1.0 has no such answer (RFC 9110, 10.1.1).
    expects = expects and request.version >= HttpVersion11
    if expects and request.transport is not None and not request.content.at_eof():
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _decoded(request: web.Request, max_expansion: int | None) -> AsyncIterator[bytes]:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in _sent(request):
            yield chunk
        return
    if encoding not in ZLIB_WINDOW:
        raise web.HTTPUnsupportedMediaType(headers={"Accept-Encoding": ENCODINGS})
    decoder = zlib.decompressobj(wbits=ZLIB_WINDOW[encoding])
    received = expanded = 0
    async for chunk in _sent(request):
        pending, received = chunk, received + len(chunk)
        while pending:
            piece = decoder.decompress(pending, CHUNK_BYTES)
            expanded += len(piece)
            if max_expansion is not None and expanded > max_expansion * received + FREE_EXPANSION_BYTES:
                raise _expands_too_much(max_expansion)
            yield piece
            pending = decoder.unconsumed_tail
        if decoder.unused_data:
            raise zlib.error("data after the end of the stream")
    # At most one window: less than a piece.
    yield decoder.flush()
    if not decoder.eof:
        raise zlib.error("incomplete stream")


async def _sent(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body as it was sent. Raises InvalidRequest, body_too_slow, and Overloaded if it has to make room."""
    body = current_reception() or Reception(current_client())
    while piece := await body.next_of(request.content, CHUNK_BYTES):
        yield piece
