"""The frames between the router and its engine processes, over a Unix socket pair.

A frame is its length (4 bytes, little endian) and a body. A request's body: operation, length of the collection's
name, name, serialized protobuf. A reply's body: status code, counts of the collection, length of the message, message,
serialized protobuf. One reply for each request, in order.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from local_qdrant.protocol.status import Code

LENGTH = struct.Struct("<I")
_REQUEST = struct.Struct("<BH")
_REPLY = struct.Struct("<BQQII")


class Operation(IntEnum):
    """What an engine process is asked to do with a collection."""

    UPSERT = 1
    DELETE = 2
    QUERY = 3
    GET = 4
    SCROLL = 5
    COUNT = 6
    LOAD = 7
    """Open the collection if it is not open."""
    SETTLE = 8
    """Optimize and flush: what was written before is indexed and on disk afterwards."""
    CLOSE = 9
    """Flush and close the collection, so that another process may open it."""


OF_CLIENTS = frozenset(Operation) - {Operation.LOAD, Operation.SETTLE, Operation.CLOSE}
"""Operations that clients ask for; the others are the router's own."""


@dataclass(frozen=True)
class Counts:
    """What the engine knows about a collection: points, vectors in an index, segments."""

    points: int = 0
    indexed: int = 0
    segments: int = 0


@dataclass(frozen=True)
class Request:
    """One operation on one collection."""

    operation: Operation
    collection: str
    payload: bytes = b""


@dataclass(frozen=True)
class Reply:
    """The outcome. `message` explains a code other than OK; `payload` is the serialized response."""

    code: Code
    counts: Counts
    message: str = ""
    payload: bytes = b""


def encode_request(request: Request) -> bytes:
    """The whole frame of a request."""
    name = request.collection.encode()
    head = _REQUEST.pack(request.operation, len(name))
    return b"".join((LENGTH.pack(len(head) + len(name) + len(request.payload)), head, name, request.payload))


def decode_request(body: bytes) -> Request:
    """A request from a frame's body."""
    operation, name_length = _REQUEST.unpack_from(body)
    start = _REQUEST.size + name_length
    return Request(Operation(operation), body[_REQUEST.size : start].decode(), body[start:])


def encode_reply(reply: Reply) -> bytes:
    """The whole frame of a reply."""
    message = reply.message.encode(errors="replace")
    counts = reply.counts
    head = _REPLY.pack(reply.code, counts.points, counts.indexed, counts.segments, len(message))
    return b"".join((LENGTH.pack(len(head) + len(message) + len(reply.payload)), head, message, reply.payload))


def decode_reply(body: bytes) -> Reply:
    """A reply from a frame's body."""
    code, points, indexed, segments, message_length = _REPLY.unpack_from(body)
    start = _REPLY.size + message_length
    message = body[_REPLY.size : start].decode()
    return Reply(Code(code), Counts(points, indexed, segments), message, body[start:])
