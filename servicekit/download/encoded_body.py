"""Compressed bodies. We ask for none, but some hosts compress regardless, and some only claim to."""

import zlib

GZIP = b"\x1f\x8b"
# zlib's setting for a gzip or zlib header, and for none.
ANY_HEADER, NO_HEADER = 47, -15


def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body without its Content-Encoding, of at most `limit` + 1 bytes.

    A body that is not compressed as the header claims is returned as it is: other clients ignore the header, too.
    """
    name = encoding.strip().lower()
    if name in ("gzip", "x-gzip") or (body.startswith(GZIP) and name):
        return _inflated(body, ANY_HEADER, limit) or body
    if name == "deflate":
        # Some servers leave out the zlib header.
        return _inflated(body, ANY_HEADER, limit) or _inflated(body, NO_HEADER, limit) or body
    return body


def _inflated(body: bytes, wbits: int, limit: int) -> bytes | None:
    """Return the decompressed body, or None if it is not a complete compressed one."""
    decompressor = zlib.decompressobj(wbits)
    try:
        data = decompressor.decompress(body, limit + 1)
    except zlib.error:
        return None
    return data if decompressor.eof or len(data) > limit else None
