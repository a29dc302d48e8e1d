"""Compressed bodies. We ask for none, but some hosts compress regardless, and some only claim to."""

import zlib

from servicekit.download.content_kind import IMAGE_STARTS

GZIP = b"\x1f\x8b"
# Compressions that clients must ask for, and of which no decoder is here.
UNASKED = {"br": "Brotli", "zstd": "Zstandard", "compress": "compress", "x-compress": "compress", "dcb": "Brotli"}
# zlib's setting for a gzip or zlib header, and for none.
ANY_HEADER, NO_HEADER = 47, -15


def decoded(body: bytes, encodings: str, limit: int) -> bytes:
    """Return a body without its Content-Encoding, of at most `limit` + 1 bytes. encodings: separated by commas.

    A body that is not compressed as the header claims is returned as it is: other clients ignore the header, too.
    """
    for name in reversed(encodings.lower().split(",")):
        body = _decoded_once(body, name.strip(), limit)
    return body


def unasked_compression(body: bytes, encodings: str) -> str | None:
    """Return the name of a compression that a host used unasked and that is not undone; None if there is none.

    body: decoded. A body that begins like an image is one, whatever the header says.
    """
    names = (UNASKED.get(name.strip()) for name in encodings.lower().split(","))
    return None if body.startswith(IMAGE_STARTS) else next((name for name in names if name), None)


def _decoded_once(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding in ("gzip", "x-gzip") or (body.startswith(GZIP) and encoding):
        return _inflated(body, ANY_HEADER, limit) or body
    if encoding == "deflate":
        # Some servers leave out the zlib header.
        return _inflated(body, ANY_HEADER, limit) or _inflated(body, NO_HEADER, limit) or body
    return body


def _inflated(body: bytes, wbits: int, limit: int) -> bytes | None:
    """Return the decompressed body, or None if it is not a compressed one.

    The end may be missing, as for curl: gzip has a checksum there. Without a header, only the end shows that it is one.
    """
    decompressor = zlib.decompressobj(wbits)
    try:
        data = decompressor.decompress(body, limit + 1)
    except zlib.error:
        return None
    if not (decompressor.eof or len(data) > limit or wbits == ANY_HEADER):
        return None
    following = decompressor.unused_data
    # A file can have several parts (RFC 1952, 2.2). What else follows does not matter.
    while following.startswith(GZIP) and len(data) <= limit:
        decompressor = zlib.decompressobj(wbits)
        try:
            data += decompressor.decompress(following, limit + 1 - len(data))
        except zlib.error:
            break
        following = decompressor.unused_data
    return data
