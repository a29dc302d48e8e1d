"""Asks a gRPC server on a Unix socket whether it answers, without gRPC's library: that would take 20 MB of memory.

A server that accepts connections may still answer nothing: the library's own threads accept them and exchange
settings, while the service's event loop, which answers calls, is blocked.
"""

import asyncio
from pathlib import Path

# RFC 9113: what a client sends first (3.4), and the types of frames (6).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
STREAM = 1
FRAME_START_BYTES = 9
# https://github.com/grpc/grpc/blob/master/doc/health-checking.md
CHECK = "/grpc.health.v1.Health/Check"
CALL = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", CHECK),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)
# A message of no bytes, not compressed: it asks about the server as a whole.
EMPTY_MESSAGE = bytes(5)


async def answers_grpc(path: Path) -> bool:
    """Return True as soon as the server answers a health check, whatever the answer is. Until then, wait.

    Raises OSError or EOFError if the connection fails or ends before.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        call = b"".join(map(_literal, CALL))
        writer.write(
            PREFACE
            + _frame(SETTINGS, 0, 0, b"")
            + _frame(HEADERS, END_HEADERS, STREAM, call)
            + _frame(DATA, END_STREAM, STREAM, EMPTY_MESSAGE)
        )
        while True:
            start = await reader.readexactly(FRAME_START_BYTES)
            await reader.readexactly(int.from_bytes(start[:3]))
            if start[3] == HEADERS and int.from_bytes(start[5:]) == STREAM:
                return True
    finally:
        writer.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _literal(field: tuple[str, str]) -> bytes:
    """Return a header field as HPACK writes it without its tables (RFC 7541, 6.2.2)."""
    name, value = (text.encode("ascii") for text in field)
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
