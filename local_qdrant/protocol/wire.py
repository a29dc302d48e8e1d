"""The messages between the router and its engine processes, as frames.

A request's header: operation, name of the collection. A reply's header: status code, counts of the collection, message.
The body of both is a serialized protobuf message. One reply for each request, in order.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from local_qdrant.protocol.status import Code

_REPLY = struct.Struct("<BQQI")


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
    """Return the header of a request's frame; the payload is the body."""
    return bytes([request.operation]) + request.collection.encode()


def decode_request(header: bytes, payload: bytes) -> Request:
    """Return the request of a frame."""
    return Request(Operation(header[0]), header[1:].decode(), payload)


def encode_reply(reply: Reply) -> bytes:
    """Return the header of a reply's frame; the payload is the body."""
    counts = reply.counts
    head = _REPLY.pack(reply.code, counts.points, counts.indexed, counts.segments)
    return head + reply.message.encode(errors="replace")


def decode_reply(header: bytes, payload: bytes) -> Reply:
    """Return the reply of a frame."""
    code, points, indexed, segments = _REPLY.unpack_from(header)
    return Reply(Code(code), Counts(points, indexed, segments), header[_REPLY.size :].decode(), payload)
