"""Responses of hosts that do not keep to HTTP: what curl accepts, we accept.

The HTTP client's parser is lenient, but less so than curl and browsers. Here the head of a response that it would
reject is put in order before the parser sees it. A response that is in order passes unchanged.
"""

import asyncio
import re
from functools import partial
from typing import TypedDict, Unpack, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import BaseTimerContext

# A single header field may fill the head. Curl limits a field to 100 kB and a head to 300 kB.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 1000
TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
IN_ORDER = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: [^\r\n\0]*)?\r\n(?:" + TOKEN + rb":[^\r\n\0]*\r\n)*\r\n")
END_OF_HEAD = re.compile(rb"\n\r*\n")
STATUS_LINE = re.compile(rb"HTTP/([0-9])(?:\.([0-9]))?[ ]+([0-9]{3})(?:[ ](.*))?", re.IGNORECASE | re.DOTALL)
LINE_END = re.compile(rb"\r*\n")
FIELD = re.compile(rb"(" + TOKEN + rb")[ \t]*:(.*)", re.DOTALL)
LENGTH = re.compile(rb"[ \t]*\+?([0-9]{1,18})")
FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding):[ \t]*([^\r]*?)[ \t]*(?=\r)", re.IGNORECASE)
SWITCHING_PROTOCOLS = b"101"


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


class LenientResponses(ResponseHandler):
    """A connection of the HTTP client that takes responses that are not quite HTTP."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        # What came of the head; None after its end.
        self._head: bytearray | None = None
        # The bytes left of the body; None if its head does not say.
        self._left: int | None = None

    def set_response_params(self, **parameters: Unpack[ResponseParameters]) -> None:
        """Expect the response to the next request."""
        self._head = bytearray()
        self._left = None
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
        head, self._left = put_in_order(head)
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
        if self._left is not None and len(data) > self._left:
            data = data[: self._left]
            self.force_close()
            if not data:
                return
        if self._left is not None:
            self._left -= len(data)
        super().data_received(data)
        # The client forgets to end the body after an error in its chunks, and would wait for it for ever.
        if self.exception() is not None and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError("The body is malformed."))


def put_in_order(head: bytes) -> tuple[bytes, int | None]:
    """Return a head as the parser takes it, and the length of the body if the head says so and it is not chunked.

    A head that is in order, or that curl would reject as well, is returned unchanged.
    """
    framing = FRAMING.findall(head)
    if not IN_ORDER.fullmatch(head) or len(framing) > 1:
        return _put_in_order(head)
    length = next((value for name, value in framing if name.lower() == b"content-length"), None)
    if length is not None and not length.isdigit():
        return _put_in_order(head)
    return head, None if length is None else int(length)


def _put_in_order(head: bytes) -> tuple[bytes, int | None]:
    first, *lines = LINE_END.split(head.rstrip(b"\r\n"))
    status = STATUS_LINE.fullmatch(first)
    if status is None:
        return head, None
    version = b"1.0" if status[2] == b"0" else b"1.1"
    fields = [field for field in map(FIELD.fullmatch, _unfolded(lines)) if field is not None]
    kept = [(field[1].lower(), field[2].translate(None, b"\r").strip(b" \t")) for field in fields]
    chunked = any(name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in kept)
    lengths = (
        []
        if chunked
        else [found[1] for name, value in kept if name == b"content-length" and (found := LENGTH.match(value))]
    )
    framing = (b"content-length", *(() if chunked else (b"transfer-encoding",)))
    ordered = [(name, value) for name, value in kept if name not in framing]
    if lengths:
        # Of several, the last one counts, as for curl. A body behind such a head ends the connection.
        ordered += [(b"content-length", lengths[-1])]
    ordered = [*((name, value) for name, value in ordered if name != b"connection"), (b"connection", b"close")]
    status_line = b"HTTP/%s %s %s" % (version, status[3], (status[4] or b"").translate(None, b"\r\0"))
    text = b"\r\n".join([status_line, *(b"%s: %s" % field for field in ordered)])
    return text + b"\r\n\r\n", int(lengths[-1]) if lengths else None


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
