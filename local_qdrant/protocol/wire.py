"""The messages between the router and its engine processes, as frames.

The header of a request: operation, name of the collection. The header of a reply: status code, counts of the
collection, message. The body of both is a serialized protobuf message. Each request gets one reply, in order.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from local_qdrant.protocol.status import Code

REPLY = struct.Struct("<BQQI")


class Operation(IntEnum):
    """What an engine process does with a collection."""

    UPSERT = 1
    DELETE = 2
    QUERY = 3
    GET = 4
    SCROLL = 5
    COUNT = 6
    # The router's own: open the collection if it is not open.
    LOAD = 7
    # Optimize and flush, so that everything written before is indexed and on disk.
    SETTLE = 8
    # Flush and close the collection, so that another process can open it.
    CLOSE = 9


CLIENT_OPERATIONS = frozenset(Operation) - {Operation.LOAD, Operation.SETTLE, Operation.CLOSE}


@dataclass(frozen=True)
class Counts:
    """How many points, indexed vectors and segments a collection has."""

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
    """The result. `message` explains a code other than OK, `payload` is the serialized response."""

    code: Code
    counts: Counts
    message: str = ""
    payload: bytes = b""


def encode_request(request: Request) -> bytes:
    """Return the header of a request's frame. The payload is the body."""
    return bytes([request.operation]) + request.collection.encode()


def decode_request(header: bytes, payload: bytes) -> Request:
    """Return the request of a frame."""
    return Request(Operation(header[0]), header[1:].decode(), payload)


def encode_reply(reply: Reply) -> bytes:
    """Return the header of a reply's frame. The payload is the body."""
    counts = reply.counts
    head = REPLY.pack(reply.code, counts.points, counts.indexed, counts.segments)
    return head + reply.message.encode(errors="replace")


def decode_reply(header: bytes, payload: bytes) -> Reply:
    """Return the reply of a frame."""
    code, points, indexed, segments = REPLY.unpack_from(header)
    return Reply(Code(code), Counts(points, indexed, segments), header[REPLY.size :].decode(), payload)
