"""Responses of hosts that do not keep to HTTP: what curl accepts, we accept.

The HTTP client's parser is lenient, but less so than curl and browsers. Here the head of a response that it would
reject, and the chunks of a body, are put in order before the parser sees them.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import TypedDict, Unpack, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import BaseTimerContext

# A single header field may fill the head. Curl limits a field to 100 kB and a head to 300 kB.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = MAX_HEAD_BYTES // 4
TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
IN_ORDER = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: [^\r\n\0]*)?\r\n(?:" + TOKEN + rb":[^\r\n\0]*\r\n)*\r\n")
END_OF_HEAD = re.compile(rb"\n\r*\n")
STATUS_LINE = re.compile(rb"HTTP/([0-9])(?:\.([0-9]))?[ ]+([0-9]{3})(?![0-9])[ ]?(.*)", re.IGNORECASE | re.DOTALL)
LINE_END = re.compile(rb"\r*\n")
FIELD = re.compile(rb"(" + TOKEN + rb")[ \t]*:(.*)", re.DOTALL)
LENGTH = re.compile(rb"[ \t]*\+?([0-9]+)")
# Curl takes a larger one for a mistake, too, and reads to the end of the connection.
MAX_LENGTH = 1 << 63
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,64}")
# The parser refuses it at once.
MALFORMED = b"?\r\n"
FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding):[ \t]*([^\r]*?)[ \t]*(?=\r)", re.IGNORECASE)
SWITCHING_PROTOCOLS = b"101"
CHUNKED, IDENTITY = b"chunked", b"identity"


class ResponseParameters(TypedDict, total=False):
    """The parameters of `ResponseHandler.set_response_params`."""

    timer: BaseTimerContext | None
    skip_payload: bool
    read_until_eof: bool
    auto_decompress: bool
    read_timeout: float | None
    read_bufsize: int
    timeout_ceil_threshold: float
    max_line_size: int
    max_field_size: int
    max_headers: int


class Sized:
    """A body whose length is known. overrun: whether more has come."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.overrun = False

    def take(self, data: bytes) -> bytes:
        """Return what belongs to the body."""
        self.overrun = self.overrun or len(data) > self._left
        taken = data[: self._left]
        self._left -= len(taken)
        return taken


class Chunks:
    """A body in chunks (RFC 9112, 7.1). overrun: whether more has come than its chunks.

    As for curl, lines end with a line feed, what follows the size in its line does not matter, and neither do trailers.
    """

    def __init__(self) -> None:
        self.overrun = False
        self._line = bytearray()
        self._left = 0
        self._read: Callable[[bytes], bytes] | None = self._size

    def take(self, data: bytes) -> bytes:
        """Return the chunks in order."""
        ordered, position = bytearray(), 0
        while position < len(data) and self._read is not None:
            if self._left:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                ordered += piece
                continue
            end = data.find(b"\n", position) + 1
            self._line += data[position : end or len(data)]
            position = end or len(data)
            if end or len(self._line) > MAX_HEAD_BYTES:
                line = bytes(self._line).rstrip(b"\r\n") if end else MALFORMED
                self._line.clear()
                ordered += self._read(line)
        self.overrun = self.overrun or position < len(data)
        return bytes(ordered)

    def _size(self, line: bytes) -> bytes:
        found = CHUNK_SIZE.match(line)
        if found is None:
            return self._malformed()
        self._left = int(found[0], 16)
        if not self._left:
            self._read = self._trailer
            return b""
        self._read = self._end_of_data
        return b"%x\r\n" % self._left

    def _end_of_data(self, line: bytes) -> bytes:
        self._read = self._size
        return self._malformed() if line else b"\r\n"

    def _trailer(self, line: bytes) -> bytes:
        if line:
            return b""
        self._read = None
        return b"0\r\n\r\n"

    def _malformed(self) -> bytes:
        self._read = None
        return MALFORMED


class LenientResponses(ResponseHandler):
    """A connection of the HTTP client that takes responses that are not quite HTTP."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        # What came of the head; None after its end.
        self._head: bytearray | None = None
        # None if the body goes on to the end of the connection.
        self._body: Sized | Chunks | None = None

    def set_response_params(self, **parameters: Unpack[ResponseParameters]) -> None:
        """Expect the response to the next request."""
        self._head = bytearray()
        self._body = None
        super().set_response_params(**parameters)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, beginning with a head that is in order."""
        if self._head is None or not data:
            self._body_received(data)
            return
        self._head += data
        end = END_OF_HEAD.search(self._head)
        if end is None and len(self._head) <= MAX_HEAD_BYTES:
            self.start_timeout()
            return
        received, self._head = bytes(self._head), None
        if end is None:
            # The parser finds out by itself that a field is too long.
            super().data_received(received)
            return
        head, body = received[: end.end()], received[end.end() :]
        head, self._body = put_in_order(head)
        if head[9:10] == b"1" and head[9:12] != SWITCHING_PROTOCOLS:
            # An interim response: the final one follows.
            self._head = bytearray()
            if body:
                self.data_received(body)
            return
        super().data_received(head)
        if body:
            self._body_received(body)

    def _body_received(self, data: bytes) -> None:
        """Pass on a part of the body. What a host sends after it would fail the whole response."""
        if self._body is not None and data:
            data = self._body.take(data)
            if self._body.overrun:
                self.force_close()
            if not data:
                self.start_timeout()
                return
        super().data_received(data)
        # The client forgets to end the body after an error in its chunks, and would wait for it for ever.
        if self.exception() is not None and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError("The body is malformed."))
            # A reader that was just woken sees the end only. It has to ask for the exception then.
            self._payload.feed_eof()


def put_in_order(head: bytes) -> tuple[bytes, Sized | Chunks | None]:
    """Return a head as the parser takes it, and what its body is like; None if the head does not say.

    A head that is in order, or that curl would reject as well, is returned unchanged.
    """
    framing = FRAMING.findall(head)
    if not IN_ORDER.fullmatch(head) or len(framing) > 1:
        return _put_in_order(head)
    if not framing:
        return head, None
    ((name, value),) = framing
    if name.lower() == b"transfer-encoding":
        return (head, Chunks()) if value.lower() == CHUNKED else _put_in_order(head)
    return (head, Sized(int(value))) if value.isdigit() and int(value) < MAX_LENGTH else _put_in_order(head)


def _put_in_order(head: bytes) -> tuple[bytes, Sized | Chunks | None]:
    first, *lines = LINE_END.split(head.rstrip(b"\r\n"))
    status = STATUS_LINE.fullmatch(first)
    if status is None:
        return head, None
    version = b"1.0" if status[2] == b"0" else b"1.1"
    fields = [field for field in map(FIELD.fullmatch, _unfolded(lines)) if field is not None]
    kept = [(field[1].lower(), field[2].translate(None, b"\r").strip(b" \t")) for field in fields]
    ordered, body = _framed(kept)
    ordered = [*((name, value) for name, value in ordered if name != b"connection"), (b"connection", b"close")]
    status_line = b"HTTP/%s %s %s" % (version, status[3], status[4].translate(None, b"\r\0"))
    text = b"\r\n".join([status_line, *(b"%s: %s" % field for field in ordered)])
    return text + b"\r\n\r\n", body


def _framed(fields: list[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], Sized | Chunks | None]:
    """Return fields that say once how long the body is, and what it is like."""
    listed = b",".join(value for name, value in fields if name == b"transfer-encoding").lower().split(b",")
    codings = [coding.partition(b";")[0].strip(b' \t"') for coding in listed]
    lengths = [int(found[1]) for name, value in fields if name == b"content-length" and (found := LENGTH.match(value))]
    others = [(name, value) for name, value in fields if name not in (b"content-length", b"transfer-encoding")]
    compressed = [coding for coding in codings if coding not in (CHUNKED, IDENTITY, b"")]
    if compressed:
        # It was compressed on its way, after what Content-Encoding says.
        said = [value for name, value in others if name == b"content-encoding"]
        others = [field for field in others if field[0] != b"content-encoding"]
        others.append((b"content-encoding", b", ".join([*said, *compressed])))
    if CHUNKED in codings:
        return [*others, (b"transfer-encoding", CHUNKED)], Chunks()
    if lengths and lengths[-1] < MAX_LENGTH:
        # Of several, the last one counts, as for curl. A body behind such a head ends the connection.
        return [*others, (b"content-length", b"%d" % lengths[-1])], Sized(lengths[-1])
    return others, None


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """Return the fields of a head, each as one line (RFC 9112, 5.2)."""
    unfolded: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and unfolded:
            unfolded[-1] += b" " + line.strip(b" \t")
        else:
            unfolded.append(line)
    return unfolded


def accept_lenient_responses(connector: aiohttp.BaseConnector) -> None:
    """Make the connections of a connector take responses that are not quite HTTP. Call it before the first request."""
    # The client has no public setting for the class of its connections.
    connector._factory = cast(  # noqa: SLF001
        "partial[ResponseHandler]", partial(LenientResponses, asyncio.get_running_loop())
    )
