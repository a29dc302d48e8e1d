"""PNG files of 16 bits, and PNG files with additional chunks."""

import struct
import zlib
from typing import Any

from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The signature and the header, after which most other chunks may be.
HEAD_BYTES = 33


def chunk(kind: bytes, body: bytes, *, damaged: bool = False) -> bytes:
    """Return a chunk. damaged: its checksum is wrong."""
    checksum = zlib.crc32(kind + body) ^ damaged
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with chunks after its header."""
    return data[:HEAD_BYTES] + b"".join(chunks) + data[HEAD_BYTES:]


def png(samples: NDArray[Any], kind: int) -> bytes:
    """Return a PNG of 16 bits. samples: [height, width] or [height, width, channels]. kind: the colour type."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body, 1)) + chunk(b"IEND", b"")
